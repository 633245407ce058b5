"use strict";
// Renews <main> every two seconds while the page is looked at. Without it, the page is renewed by reloading.
(() => {
  const told = document.getElementById("refreshed");
  const renew = async () => {
    if (document.hidden || String(getSelection()).length > 0) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      // The login is over.
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error("the hub answered " + answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const scrolled = Array.from(document.querySelectorAll(".scroll"), (element) => element.scrollLeft);
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.querySelectorAll(".scroll").forEach((element, at) => { element.scrollLeft = scrolled[at] || 0; });
      told.textContent = "renewed every 2 s";
      told.className = "";
    } catch (error) {
      told.textContent = "not renewed: " + error.message;
      told.className = "bad";
    }
  };
  told.textContent = "renewed every 2 s";
  setInterval(renew, 2000);
})();
