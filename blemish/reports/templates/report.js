(() => {
  const find = (id) => document.getElementById(id);
  const put = (id, text) => { const place = find(id); if (place) place.textContent = text; };

  // Numbers as in the rest of the page.
  const score = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : Math.abs(value) >= 1e4 ? String(Number(value.toPrecision(4))) : value.toPrecision(4));
  const rate = (share) => {
    const percent = 100 * share;
    const near = percent > 0 && percent < 100 && (percent < 1 || percent > 99);
    return percent.toFixed(near ? 2 : 1) + "\u00a0%";
  };
  const images = (count, kind) => `${count.toLocaleString("en")} ${kind}${count === 1 ? " image" : " images"}`;

  decide();
  gallery();

  function decide() {
    const holder = find("facts");
    if (!holder) return;
    const facts = JSON.parse(holder.textContent);
    const slider = find("threshold"), reviewSlider = find("review");
    const steps = Number(slider.max);
    const position = (value) => Math.min(Math.max((value - facts.low) / (facts.high - facts.low), 0), 1);
    const numOver = (sorted, threshold) => {
      let low = 0, high = sorted.length;
      while (low < high) { const middle = (low + high) >> 1; if (sorted[middle] > threshold) high = middle; else low = middle + 1; }
      return sorted.length - low;
    };
    let threshold = facts.threshold, review = facts.review ?? null;

    const countAt = (value) => {
      const rejectedGood = numOver(facts.good, value);
      const acceptedDefective = facts.defective.length - numOver(facts.defective, value);
      return { rejectedGood, acceptedDefective, falseReject: rejectedGood / facts.good.length, escape: acceptedDefective / facts.defective.length };
    };
    const interval = (limits, count) => `95 % interval ${rate(limits[count][0])} to ${rate(limits[count][1])}`;
    const cell = (row, column, count, total) => {
      const place = find(`cell-${row}-${column}`);
      if (!place) return;
      place.children[0].textContent = count;
      place.children[1].textContent = total ? rate(count / total) : "";
      place.classList.toggle("wrong", count > 0 && column === (row === "good" ? "reject" : "accept"));
    };

    function show() {
      const at = countAt(threshold);
      const numGood = facts.good.length, numDefective = facts.defective.length;
      const percent = 100 * position(threshold) + "%";
      find("cut").style.left = percent;
      find("rejected-side").style.left = percent;
      slider.value = Math.round(position(threshold) * steps);
      put("live-threshold", score(threshold));
      if (numGood) {
        put("live-false-reject", rate(at.falseReject));
        put("live-false-reject-under", `${at.rejectedGood} of ${images(numGood, "good")}; ${interval(facts.limits_good, at.rejectedGood)}`);
      }
      const reviewGood = review === null ? 0 : Math.max(0, numOver(facts.good, review) - at.rejectedGood);
      const reviewDefective = review === null ? 0 : Math.max(0, numOver(facts.defective, review) - (numDefective - at.acceptedDefective));
      const escaped = at.acceptedDefective - reviewDefective;
      if (numDefective) {
        put("live-escape", rate(escaped / numDefective));
        put("live-escape-under", `${escaped} of ${images(numDefective, "defective")}; ${interval(facts.limits_defective, escaped)}`);
      }
      if (numGood && numDefective) put("live-balanced", rate(((numGood - at.rejectedGood - reviewGood) / numGood + 1 - at.escape) / 2));
      if (facts.painted) put("live-painted", rate(numOver(facts.painted, threshold) / facts.painted.length));
      if (facts.supported) {
        const over = numOver(facts.calibration, threshold);
        const percent = (share) => `${Number((100 * share).toPrecision(3))}\u00a0%`;
        put("live-promise", `By the ${images(facts.calibration.length, "good")} of the calibration, on average at most ${percent(facts.supported[over][0])} of good parts are rejected here; with ${percent(facts.confidence)} confidence at most ${percent(facts.supported[over][1])}`);
      }
      cell("good", "accept", numGood - at.rejectedGood - reviewGood, numGood);
      cell("good", "review", reviewGood, numGood);
      cell("good", "reject", at.rejectedGood, numGood);
      cell("defective", "accept", escaped, numDefective);
      cell("defective", "review", reviewDefective, numDefective);
      cell("defective", "reject", numDefective - at.acceptedDefective, numDefective);
      if (review !== null) {
        reviewSlider.value = Math.round(position(review) * steps);
        find("review-cut").style.left = 100 * position(review) + "%";
        reviewSlider.setAttribute("aria-valuetext", `Review from ${score(review)}`);
      }
      slider.setAttribute("aria-valuetext", `${score(threshold)}: ${at.rejectedGood} of ${numGood} good parts rejected, ${escaped} of ${numDefective} defective parts escaped`);
      find("reset").disabled = threshold === facts.threshold && review === (facts.review ?? null);
      moveDot("roc", at.falseReject, 1 - at.escape);
      const rejected = at.rejectedGood + numDefective - at.acceptedDefective;
      moveDot("pr", 1 - at.escape, rejected ? (numDefective - at.acceptedDefective) / rejected : null);
      showCost(at);
    }

    function moveDot(name, x, y) {
      const dot = find("dot-" + name);
      if (!dot) return;
      dot.hidden = y === null;
      if (y !== null) { dot.style.left = 100 * x + "%"; dot.style.top = 100 - 100 * y + "%"; }
    }

    const costs = () => {
      const values = ["cost-escape", "cost-reject", "cost-defects"].map((id) => find(id).value === "" ? NaN : Number(find(id).value));
      return values.every((value) => value >= 0) && values[2] <= 100 ? { escape: values[0], reject: values[1], defects: values[2] / 100 } : null;
    };
    const costOf = (price, falseReject, escape) => 1000 * (price.reject * (1 - price.defects) * falseReject + price.escape * price.defects * escape);

    // The cost of a threshold alone: what is put up for review counts as accepted here, since its price is not asked.
    function showCost(at) {
      const price = facts.good.length && facts.defective.length ? costs() : null;
      find("cost-panel").hidden = price === null;
      if (price === null) { put("live-cost", ""); return; }
      // Every way to cut the test scores: rates change at the scores alone, so the cost is a staircase.
      const cuts = [facts.low, ...new Set([...facts.good, ...facts.defective].filter((value) => value > facts.low && value < facts.high).sort((a, b) => a - b)), facts.high];
      const stairs = cuts.map((value) => {
        const here = countAt(value);
        const good = facts.limits_good[here.rejectedGood], defective = facts.limits_defective[here.acceptedDefective];
        return { value, cost: costOf(price, here.falseReject, here.escape), low: costOf(price, good[0], defective[0]), high: costOf(price, good[1], defective[1]) };
      });
      const top = Math.max(...stairs.map((stair) => stair.cost)) * 1.15 || 1;
      const y = (cost) => (100 - 100 * Math.min(cost / top, 1)).toFixed(2);
      const walk = (list, key) => list.map((stair, index) => {
        const x = (100 * position(stair.value)).toFixed(2);
        return index === 0 ? `${x} ${y(stair[key])}` : `${x} ${y(list[index - 1][key])}L${x} ${y(stair[key])}`;
      });
      const panel = find("cost-panel");
      panel.querySelector(".curve").setAttribute("d", "M" + walk(stairs, "cost").join("L"));
      panel.querySelector(".band").setAttribute("d", "M" + walk(stairs, "high").join("L").split("L").concat(walk(stairs, "low").join("L").split("L").reverse()).join("L") + "Z");
      const best = stairs.reduce((least, stair) => (stair.cost < least.cost ? stair : least));
      put("cost-range", `0 to ${score(top)}`);
      put("live-cost", `${score(costOf(price, at.falseReject, at.escape))} per 1,000 parts at this threshold; least on these images is ${score(best.cost)}, from ${score(best.value)} on.`);
    }

    const value = (input) => facts.low + (Number(input.value) / steps) * (facts.high - facts.low);
    slider.addEventListener("input", () => { threshold = value(slider); if (review !== null && review > threshold) review = threshold; show(); });
    reviewSlider?.addEventListener("input", () => { review = Math.min(value(reviewSlider), threshold); show(); });
    find("reset").addEventListener("click", () => { threshold = facts.threshold; review = facts.review ?? null; show(); slider.focus(); });
    ["cost-escape", "cost-reject", "cost-defects"].forEach((id) => find(id).addEventListener("input", show));
    show();
  }

  function gallery() {
    const parts = find("parts"), viewer = find("viewer");
    if (!parts) return;
    parts.querySelectorAll("[data-layer]").forEach((button) => button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      parts.classList.toggle("hide-" + button.dataset.layer, !on);
    }));
    const openers = [...parts.querySelectorAll("[data-open]")];
    let current = 0, from = null;
    const open = (index) => {
      current = (index + openers.length) % openers.length;
      const opener = openers[current], tile = opener.closest(".tile");
      const body = find("viewer-body");
      body.className = ["body", ...["wide", "three"].filter((name) => opener.classList.contains(name))].join(" ");
      body.replaceChildren(...[...opener.querySelectorAll("svg")].map((svg) => {
        const copy = svg.cloneNode(true);
        copy.querySelectorAll("[id]").forEach((node) => node.removeAttribute("id"));
        return copy;
      }));
      put("viewer-name", tile.querySelector(".name").textContent + ", " + tile.querySelector(".chip").textContent);
      put("viewer-numbers", tile.querySelector(".numbers").textContent.trim().replace(/\s+/g, " "));
      if (!viewer.open) viewer.showModal();
    };
    openers.forEach((opener, index) => opener.addEventListener("click", () => open(index)));
    document.querySelectorAll(".open-part").forEach((button) => button.addEventListener("click", () => {
      const index = openers.findIndex((opener) => opener.dataset.path === button.dataset.part);
      if (index >= 0) { from = button; open(index); }
    }));
    viewer.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (event.target === viewer || button?.dataset.close !== undefined) viewer.close();
      else if (button?.dataset.step) open(current + Number(button.dataset.step));
    });
    viewer.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") open(current + 1);
      if (event.key === "ArrowLeft") open(current - 1);
    });
    viewer.addEventListener("close", () => { (from ?? openers[current]).focus(); from = null; });
  }
})();
