"use strict";
// The suspects that one asks for. Without scripts the table has them all.
const filters = document.getElementById("filters");
if (filters) {
  const [category, modality, confidence, text] = ["category", "modality", "confidence", "text"].map((id) =>
    document.getElementById(id));
  const rows = document.getElementById("suspect-rows"), seen = document.getElementById("seen");
  const refresh = () => {
    const least = Number(confidence.value) / 100, words = text.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows.rows) {
      const fits = (!category.value || row.cells[1].textContent === category.value)
        && (!modality.value || row.cells[2].textContent === modality.value)
        && Number(row.dataset.c) >= least && row.textContent.toLowerCase().includes(words);
      row.classList.toggle("out", !fits);
      count += fits;
    }
    seen.textContent = `${count} of ${rows.rows.length} suspects`;
  };
  for (const field of [category, modality, confidence, text]) field.addEventListener("input", refresh);
  filters.hidden = false;
  refresh();
}
