// The copy button of a block with commands copies the commands alone: no prompts, and nothing that they print.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".language-console button[data-clipboard-target]");
  if (button) {
    const block = document.querySelector(button.dataset.clipboardTarget);
    const code = (block.querySelector("code") ?? block).cloneNode(true);
    code.querySelectorAll(".gp, .go, .gt, button").forEach((each) => each.remove());
    button.dataset.clipboardText = code.textContent.split("\n").filter((line) => line.trim()).join("\n");
  }
}, true);
