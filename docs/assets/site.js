// What the theme makes while a page is looked at: boxes that scroll by keyboard, named buttons.
function mend() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, pre > code")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    mend.count = (mend.count ?? 0) + 1;
    nav.setAttribute("aria-label", `Code ${mend.count}`);
  });
}

addEventListener("load", mend);
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
