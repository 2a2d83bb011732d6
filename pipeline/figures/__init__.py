"""What a person looks at: contact sheets, scatters, scores. No number is computed here."""
