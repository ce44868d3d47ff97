//! A page in a real browser: it has what it should, does what it should, and loads nothing.

use std::fs;

use serde_json::{Value, json};

use super::{HOSTILE, sample};
use crate::support::Workshop;
use crate::support::browser::Browser;
use crate::support::videos::data;

/// A page of twelve videos, two of them with thumbnails, in a folder with a hostile name.
fn page(shop: &Workshop) -> std::path::PathBuf {
    sample(shop, 12);
    let clip = data("media/nasa_13013.mp4");
    shop.write("all.csv", format!("video_uid,path\nv0,{0}\nv1,{0}\nv2,gone.mp4\n", clip.display()));
    let folder = shop.path("<img src=x onerror=window.hurt=1>");
    fs::rename(shop.path("features"), &folder).unwrap();
    let mut command = shop.program("report -m all.csv");
    command.arg(&folder);
    shop.finished("report", &mut command).ends_with(0);
    folder.join("report.html")
}

fn texts(browser: &mut Browser, selector: &str) -> Vec<String> {
    let found = browser.value(&format!("[...document.querySelectorAll(\"{selector}\")].map((one) => one.textContent)"));
    found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Whether elements are seen.
fn visible(browser: &mut Browser, selector: &str) -> Vec<String> {
    let seen = "(one) => one.checkVisibility()";
    let found = browser.value(&format!(
        "[...document.querySelectorAll(\"{selector}\")].filter({seen}).map((one) => one.id || one.textContent)"
    ));
    found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// One start of the browser for all of it.
#[test]
fn a_page_works_in_a_browser_and_loads_nothing() {
    let shop = Workshop::new();
    let path = page(&shop);
    let Some(mut browser) = Browser::start() else { return };
    let browser = &mut browser;
    browser.media("light", "");
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        json!({"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": false}),
    );
    browser.open(&path);
    has_landmarks_and_numbers(browser);
    hostile_text_is_text(browser);
    points_are_walked_and_pointed_at(browser);
    colours_are_switched(browser);
    pages_are_turned(browser);
    is_dark_and_prints(browser);
    is_narrow(browser);
    let entries = browser.value("performance.getEntriesByType('resource').map((entry) => entry.name)");
    let entries = entries.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let foreign: Vec<String> =
        browser.loaded.clone().into_iter().chain(entries).filter(|url| !url.starts_with("data:")).collect();
    assert_eq!(foreign.len(), 1, "the page itself: {foreign:?}");
    assert!(foreign[0].ends_with("report.html"));
    assert_eq!(browser.complaints, [] as [String; 0]);
    // A policy that accepted anything would let this pass.
    browser.value("fetch('data:text/plain,a').then(() => 'fetched', () => 'refused')");
    assert!(
        browser.complaints.iter().any(|words| words.contains("Content Security Policy")),
        "{:?}",
        browser.complaints
    );
}

fn has_landmarks_and_numbers(browser: &mut Browser) {
    assert_eq!(texts(browser, "h2"), ["What was run", "What looks wrong", "Map of rows", "Videos"]);
    for selector in ["header", "main", "footer", "nav[aria-label]", "a.skip[href='#main']", "html[lang=en]"] {
        assert_eq!(browser.value(&format!("document.querySelectorAll(\"{selector}\").length > 0")), true, "{selector}");
    }
    let figures = texts(browser, "#run .figures div");
    assert!(
        figures.contains(&"devicecpu".to_owned()) && figures.contains(&"rows a second13.0".to_owned()),
        "{figures:?}"
    );
    assert!(
        texts(browser, "#run .card p")[0]
            .starts_with("490 rows of 16 numbers in 13 units, 2 of 15 planned are not there")
    );
    let rows = texts(browser, "#lines tr");
    assert_eq!((rows.len(), rows[1].as_str()), (12, "v114002"), "{rows:?}");
    assert_eq!(texts(browser, "#video-0 .said").first().unwrap(), "40 rows, 1 padded");
    let unnamed = "document.querySelectorAll('img:not([alt]), svg:not([aria-label]):not([aria-hidden]), canvas:not([aria-label]):not([aria-hidden])').length";
    assert_eq!(browser.value(unnamed), 0);
    let decoded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)";
    assert_eq!(browser.value(decoded), true);
    assert_eq!(browser.value("document.querySelectorAll('#strip-0 img').length"), 14, "one a second of 13");
}

fn hostile_text_is_text(browser: &mut Browser) {
    assert_eq!(browser.value("window.hurt === undefined"), true);
    // v0, v1, v10, v11, v2.
    let said = texts(browser, "#video-4 .said");
    assert!(said.contains(&format!("failed: {HOSTILE}")), "{said:?}");
    assert!(texts(browser, "h1")[0].ends_with("<img src=x onerror=window.hurt=1>"));
    assert_eq!(browser.value("document.scripts.length"), 3);
}

fn points_are_walked_and_pointed_at(browser: &mut Browser) {
    let selected = |browser: &mut Browser| texts(browser, "#selected-0")[0].clone();
    assert_eq!(selected(browser), "No row is selected.");
    browser.value("document.querySelector('[data-map]').focus()");
    browser.press("ArrowRight");
    assert_eq!(selected(browser), "Row 1 of 488: v0 at 0:00.3 (thumbnail of 0:00.3)");
    for _ in 0..3 {
        browser.press("ArrowRight");
    }
    browser.press("ArrowLeft");
    assert_eq!(selected(browser), "Row 3 of 488: v0 at 0:01.3 (thumbnail of 0:01.3)");
    assert_eq!(browser.value("document.querySelector('#selected-0 img').naturalHeight"), 96);
    browser.press("End");
    assert!(selected(browser).starts_with("Row 488 of 488: v9 at 0:19.8"), "{}", selected(browser));
    let place = "(() => { const box = document.querySelector('[data-map]'); box.scrollIntoView(); \
                 const { x, y } = Chart.getChart('map-0').getDatasetMeta(0).data[4]; const at = box.getBoundingClientRect(); \
                 return [at.x + x, at.y + y]; })()";
    let Value::Array(place) = browser.value(place) else { panic!() };
    browser.point(1.0, 1.0);
    browser.point(place[0].as_f64().unwrap(), place[1].as_f64().unwrap());
    browser.wait("document.querySelector('#selected-0').textContent.startsWith('Row 5 of 488')");
    browser.value("document.querySelector('[data-table]').open = true");
    browser.wait("document.querySelectorAll('[data-table] tbody tr').length === 488");
}

fn colours_are_switched(browser: &mut Browser) {
    let colours = "[...new Set(Chart.getChart('map-0').data.datasets[0].pointBackgroundColor)].length";
    assert_eq!(browser.value(colours), 12, "one for each video");
    browser.value("(() => { const one = document.getElementById('colour'); one.value = 'time'; one.dispatchEvent(new Event('change')); })()");
    assert_eq!(browser.value(colours), 40, "one for each time");
}

fn pages_are_turned(browser: &mut Browser) {
    assert_eq!(visible(browser, "#details > article"), ["video-0", "video-1", "video-2", "video-3", "video-4"]);
    let bar = "document.querySelector(\"nav[aria-label='Pages of videos in detail']\")";
    assert_eq!(browser.value(&format!("{bar}.textContent")), "PreviousPage 1 of 3Next");
    assert_eq!(browser.value(&format!("{bar}.querySelector('button').disabled")), true);
    browser.value(&format!("{bar}.querySelectorAll('button')[1].click()"));
    assert_eq!(visible(browser, "#details > article"), ["video-5", "video-6", "video-7", "video-8", "video-9"]);
    browser.value("document.querySelector('#lines a[href=\"#video-11\"]').click()");
    browser.wait("!document.getElementById('video-11').hidden");
    assert_eq!(visible(browser, "#details > article"), ["video-10", "video-11"]);
    assert_eq!(browser.value("document.activeElement.id"), "video-11");
}

fn is_dark_and_prints(browser: &mut Browser) {
    let paper = "getComputedStyle(document.body).backgroundColor";
    let grid = "Chart.getChart('map-0').options.scales.x.grid.color";
    assert_eq!((browser.value(paper), browser.value(grid)), (json!("rgb(255, 255, 255)"), json!("#d5dae0")));
    browser.media("dark", "");
    assert_eq!(browser.value(paper), "rgb(20, 23, 28)");
    browser.wait(&format!("{grid} === '#363d47'"));
    browser.media("dark", "print");
    assert_eq!(browser.value(paper), "rgb(255, 255, 255)");
    assert_eq!(visible(browser, "#details > article").len(), 12, "paper has no pages to turn");
    assert_eq!(visible(browser, "nav"), [] as [String; 0]);
    let printed = browser.call("Page.printToPDF", json!({}));
    assert!(printed["data"].as_str().unwrap().starts_with("JVBERi"));
    browser.media("light", "");
}

fn is_narrow(browser: &mut Browser) {
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        json!({"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": false}),
    );
    browser.wait("document.documentElement.scrollWidth <= 380");
}
