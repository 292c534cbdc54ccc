// Every view on the page that is not yet drawn; a view comes before its script.
document.querySelectorAll(".loupe-attention").forEach(host => {
"use strict";
if (host.shadowRoot) return;
