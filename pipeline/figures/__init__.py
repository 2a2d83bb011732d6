"""Figures for people: contact sheets, scatter plots, plots of scores. They show numbers and compute none."""
