// What a person could not read on this page, one line each. Playwright calls it in the page.
() => {
  const found = [];
  const closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
  const name = (element) => {
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 50);
    return `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> "${text}"`;
  };
  const width = document.documentElement.clientWidth;
  const scrolled = document.scrollingElement.scrollWidth;
  if (scrolled > width) found.push(`the page scrolls sideways: ${scrolled} px in a window of ${width} px`);

  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  // For screen readers alone.
  const hidden = (element) => {
    for (let around = element; around; around = around.parentElement)
      if (getComputedStyle(around).clipPath === "inset(50%)") return true;
    return false;
  };
  const texts = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const list = [];
    while (walker.nextNode()) {
      const node = walker.currentNode, parent = node.parentElement;
      if (node.textContent.trim() && parent && !["STYLE", "SCRIPT", "TITLE", "DESC"].includes(parent.tagName.toUpperCase())
        && shown(parent) && !hidden(parent)) list.push(node);
    }
    return list;
  };
  const boxes = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].filter((box) => box.width > 0 && box.height > 0);
  };

  const all = texts(document.body);
  for (const node of all) {
    for (const box of boxes(node)) {
      if (box.left < -1 || box.right > width + 1)
        found.push(`text is outside of the window (${Math.round(box.left)} to ${Math.round(box.right)} px): ${name(node.parentElement)}`);
      for (let around = node.parentElement; around && around !== document.body; around = around.parentElement) {
        const style = getComputedStyle(around);
        if (around.tagName.toLowerCase() === "svg" ? style.overflow === "visible" : style.overflowX === "visible") continue;
        const bounds = around.getBoundingClientRect();
        if (box.left < bounds.left - 1 || box.right > bounds.right + 1 || box.top < bounds.top - 2 || box.bottom > bounds.bottom + 2)
          found.push(`text is clipped by ${name(around).slice(0, 60)}: ${name(node.parentElement)}`);
      }
    }
    const size = parseFloat(getComputedStyle(node.parentElement).fontSize);
    if (size < 11) found.push(`text is ${size} px high: ${name(node.parentElement)}`);
  }

  // A word that fits on a line must not be broken; output of programs is one long word.
  for (const node of all.filter((node) => !node.parentElement.closest("pre, code"))) {
    for (const { index, 0: word } of node.textContent.matchAll(/[\p{L}\p{N}](?:\S*[\p{L}\p{N}])?/gu)) {
      if (word.length > 12) continue;
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const tops = [...range.getClientRects()].map((box) => Math.round(box.top));
      if (new Set(tops).size > 1) found.push(`the word "${word}" is broken: ${name(node.parentElement)}`);
    }
  }

  // A text that leaves its cell lies on the next one.
  for (const cell of document.querySelectorAll("td, th, dt, dd, .tile, .cell, figcaption, li, button, a")) {
    if (shown(cell) && !hidden(cell) && cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth > 0)
      found.push(`text is wider than its box by ${cell.scrollWidth - cell.clientWidth} px: ${name(cell)}`);
  }

  // Texts of one drawing must not overlap.
  for (const drawing of document.querySelectorAll("svg, .ticks")) {
    if (!shown(drawing)) continue;
    const each = texts(drawing).map((node) => [node.textContent.trim(), boxes(node)[0]]).filter(([, box]) => box);
    for (let i = 0; i < each.length; i++)
      for (let j = i + 1; j < each.length; j++) {
        const [a, b] = [each[i][1], each[j][1]];
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
          found.push(`texts overlap in a drawing: "${each[i][0]}" and "${each[j][0]}"`);
      }
  }

  // Contrast of texts and marks in drawings, which axe-core leaves out.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const behind = (element) => {
    const layers = [];
    for (let around = element; around; around = around.parentElement) {
      const color = rgba(getComputedStyle(around).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((below, above) => over(above, below), [255, 255, 255]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (front, back) => {
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const faint = (element, property, least) => {
    const back = behind(element.ownerSVGElement.parentElement);
    const ratio = contrast(over(rgba(getComputedStyle(element)[property]), back), back);
    if (ratio < least) found.push(`contrast ${ratio.toFixed(2)} is below ${least}: ${name(element)}`);
  };
  for (const text of document.querySelectorAll("svg text")) if (shown(text)) faint(text, "fill", 4.5);
  for (const mark of document.querySelectorAll("svg .mark")) if (shown(mark)) faint(mark, "fill", 3);
  for (const line of document.querySelectorAll("svg .stroke")) if (shown(line)) faint(line, "stroke", 3);
  for (const part of closed) part.open = false;
  return [...new Set(found)];
}
