//! A real browser lays out the status page of the real agent.

use crate::support::*;
use std::process::Command;

/// The inner widths in pixels at which the page is laid out: a phone and a screen.
const WIDTHS: [u32; 2] = [360, 1400];

/// Opens the page in a frame of each width, and writes down what the browser made of it: the width of its content,
/// how many of its parts lie outside of it, its colours, its bars, and the words it shows.
const PROBE: &str = r#"<!DOCTYPE html><title>probe</title><pre id="out"></pre><script>
for (const width of [WIDTHS]) {
  const frame = document.createElement("iframe");
  Object.assign(frame, {width, height: 800, srcdoc: PAGE});
  frame.onload = () => {
    const page = frame.contentDocument, view = frame.contentWindow;
    const outside = [...page.querySelectorAll("body *")].filter(part => {
      const box = part.getBoundingClientRect();
      return !part.closest("svg") && (box.right > width + 1 || box.left < -1);
    });
    const bars = [...page.querySelectorAll("svg rect")].map(bar => bar.getBoundingClientRect());
    const style = view.getComputedStyle(page.body);
    out.textContent += [
      `width ${width}: content ${page.documentElement.scrollWidth}, ${outside.length} outside`,
      `mode ${page.compatMode}, ${style.color} on ${style.backgroundColor}`,
      `bars ${bars.length}, seen ${bars.filter(bar => bar.width >= 1 && bar.height >= 5).length}`,
      page.body.innerText, ""].join("\n");
  };
  document.body.append(frame);
}
</script>"#;

/// What the probe wrote about this page.
fn look(page: &str) -> String {
    let folder = Folder::new();
    // As a string of JavaScript, in which no tag ends the script.
    let quoted = format!("{page:?}").replace("\\'", "'").replace('<', "\\x3c");
    let widths = WIDTHS.map(|width| width.to_string()).join(",");
    let file = folder.write("probe.html", PROBE.replace("WIDTHS", &widths).replace("PAGE", &quoted));
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1600,1000", "--hide-scrollbars", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.0.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let dom = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = dom.split_once("<pre id=\"out\">").unwrap_or_else(|| panic!("{dom}\n{said}"));
    rest.split_once("</pre>").unwrap().0.to_owned()
}

#[test]
fn the_page_fits_a_phone_and_a_screen() {
    let agent = Agent::start(
        "agent:\n  metrics: {address: 127.0.0.1, port: PORT}\n  interval_seconds: 0.1\nfailures:\n  \
         burn: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}\n  \
         a-rather-long-name-of-an-entry-that-goes-on-and-on-and-on: \
         {type: memory, enabled: true, probability: 1, duration_seconds: 0.001, mb: 1}\n  \
         huge: {type: memory, enabled: true, probability: 1, duration_seconds: 1, mb: 1048576}\n",
    );
    agent.wait_metric("chaos_injection_active{failure_type=\"cpu\"}", |value| value == 1.0);
    agent.wait_logs("on-and-on-and-on: success", 20);
    let (status, page) = get(agent.port, "/").unwrap();
    assert_eq!(status, 200);
    assert_eq!(agent.stop().0, 0);
    let seen = look(&page);
    for width in WIDTHS {
        assert!(seen.contains(&format!("width {width}: content {width}, 0 outside\n")), "{seen}");
    }
    let both = |text: &str| assert_eq!(seen.matches(text).count(), WIDTHS.len(), "{text} in {seen}");
    both("mode CSS1Compat, rgb(28, 33, 39) on rgb(255, 255, 255)\n");
    both(" ACTIVE\n");
    both("Last outcomes\n");
    both("NOT READY");
    let bars = page.matches("<rect").count();
    assert!(bars > 20, "{page}");
    both(&format!("bars {bars}, seen {bars}\n"));
    // The probe does look: a line that cannot be broken shows.
    let wide = page.replace("<main>", "<main><p style=\"white-space:pre;width:3000px\">wide</p>");
    let seen = look(&wide);
    assert!(!seen.contains("content 360,") && !seen.contains(" 0 outside"), "{seen}");
}
