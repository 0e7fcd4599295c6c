/* Looks at a page when it is complete, and returns what a test wants to know of it. */
async () => {
  await window.MathJax?.startup?.promise;
  /* The theme hears of another colour scheme with the next frame. */
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const root = document.documentElement;
  const images = [...document.images];
  images.forEach((image) => {
    image.loading = "eager";
  });
  await Promise.all(images.map((image) => image.decode().catch(() => null)));

  const named = (element) =>
    `<${element.localName} class="${element.getAttribute("class") || ""}"> ` +
    element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);

  /* What sticks out to the right, unless it lies in a box of its own that scrolls or cuts it off. */
  const boxed = (element) => {
    for (let box = element; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (style.position === "fixed" || style.overflowX !== "visible") {
        return true;
      }
    }
    return false;
  };
  const sticking = () =>
    [...document.body.querySelectorAll("*")]
      .filter((element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !boxed(element))
      .slice(-3)
      .map(named);

  /* TeX that nobody has turned into a formula; code may hold any of it. */
  const raw = [];
  const article = document.querySelector("article") || document.body;
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data;
    const kept = walker.currentNode.parentElement.closest("pre, code, script, style, textarea, mjx-container, .math");
    if (!kept && /\\\(|\\\[|\\begin\{|\$[^$\s][^$]*\$/.test(text)) {
      raw.push(text.trim().slice(0, 80));
    }
  }

  return {
    theme: root.dataset.theme,
    background: getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number),
    title: document.title,
    scrolls: root.scrollWidth > root.clientWidth ? [`${root.scrollWidth} > ${root.clientWidth}`, ...sticking()] : [],
    images: images.map((image) => ({ source: image.src.slice(-90), width: image.naturalWidth, alt: image.alt })),
    formulas: [...document.querySelectorAll(".math")].filter((math) => !math.querySelector("mjx-container")).map(named),
    wrong: [...document.querySelectorAll("mjx-merror, [data-mjx-error]")].map(named),
    raw,
    dead: [...document.querySelectorAll(".fercore-figure:not(.fercore-live)")].map((figure) => figure.dataset.figure),
  };
}
