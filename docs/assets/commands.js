// The copy button of a block with commands copies the commands alone: no prompts, and nothing that they print.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".language-console button[data-clipboard-target]");
  if (button) {
    const block = document.querySelector(button.dataset.clipboardTarget).cloneNode(true);
    const blocks = block.querySelector("code") ?? block;
    blocks.querySelectorAll(".gp, .go, .gt, button").forEach((each) => each.remove());
    button.dataset.clipboardText = blocks.textContent.split("\n").filter((line) => line.trim()).join("\n");
  }
}, true);
