
// Show the mistakes of a pair of classes.
const gallery = find("gallery");
if (gallery) {
  const [isTrue, predicted] = [find("true-class"), find("predicted-class")];
  const show = () => {
    let count = 0;
    for (const item of gallery.children) {
      item.hidden =
        (isTrue.value !== "" && item.dataset.true !== isTrue.value) ||
        (predicted.value !== "" && item.dataset.predicted !== predicted.value);
      count += !item.hidden;
    }
    find("mistakes-count").textContent = count === 1 ? "1 face" : `${count} faces`;
  };
  isTrue.addEventListener("change", show);
  predicted.addEventListener("change", show);
  for (const link of document.querySelectorAll(".confusion a")) {
    link.addEventListener("click", () => {
      [isTrue.value, predicted.value] = [link.dataset.true, link.dataset.predicted];
      show();
    });
  }
  show(); // browsers may restore a selection
}
