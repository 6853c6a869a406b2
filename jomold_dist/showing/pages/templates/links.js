"use strict";
// Links into the page, where it lies in another. A sandboxed frame, in which MLflow shows pages, follows none of them.
if (window !== window.top) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    const there = link && document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!there) return;
    event.preventDefault();
    there.scrollIntoView();
  });
}
