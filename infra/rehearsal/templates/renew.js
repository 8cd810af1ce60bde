// While something runs, the page replaces its content without a reload, so that open logs stay open.
const renew = async () => {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.ok) {
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    for (const each of next.querySelectorAll("details")) each.open = document.getElementById(each.id)?.open ?? each.open;
    document.querySelector("main").replaceWith(next);
  }
  if ("busy" in document.querySelector("main").dataset) setTimeout(renew, 3000);
};
setTimeout(renew, 3000);
