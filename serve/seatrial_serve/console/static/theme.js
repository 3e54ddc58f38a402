/** Light or dark: as the system says, until somebody chooses. */

const KEY = "seatrial.theme";
const root = document.documentElement;

function apply(theme) {
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  else delete root.dataset.theme;
  dispatchEvent(new Event("themechange"));
}

apply(localStorage.getItem(KEY));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
addEventListener("DOMContentLoaded", () => {
  for (const choice of document.querySelectorAll("input[name=theme]")) {
    choice.checked = choice.value === (localStorage.getItem(KEY) ?? "system");
    choice.addEventListener("change", () => {
      localStorage.setItem(KEY, choice.value);
      apply(choice.value);
    });
  }
});
