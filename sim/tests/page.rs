//! The page of a run in a real browser: it draws, the violation is in view, a click opens a step, nothing complains.
//! Needs Debian's `chromium` and `chromium-driver` (`.ci/run` installs them); without them the test says that it is skipped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A chromedriver on a port of its own choice, ended with the test.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// `None` if there is no browser on this machine.
    fn start() -> Option<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(process.stdout.take()?).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        Some(Self { process, port: port.expect("chromedriver tells its port") })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser window, by the WebDriver protocol.
struct Browser {
    session: String,
}

impl Browser {
    fn open(driver: &Driver, profile: &Path, width: u32, height: u32) -> Self {
        let profile = format!("--user-data-dir={}", profile.display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile,
        ];
        let screen = json!({ "width": width, "height": height, "pixelRatio": 1.0, "touch": false });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments, "mobileEmulation": { "deviceMetrics": screen } },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let base = format!("http://127.0.0.1:{}/session", driver.port);
        let opened = post(&base, &wanted);
        let id = opened["sessionId"].as_str().expect("a session");
        Self { session: format!("{base}/{id}") }
    }

    fn ask(&self, command: &str, body: &Value) -> Value {
        post(&format!("{}/{command}", self.session), body)
    }

    fn script(&self, code: &str) -> Value {
        self.ask("execute/sync", &json!({ "script": code, "args": [] }))
    }

    fn click(&self, x: i64, y: i64) {
        let steps = json!([
            { "type": "pointerMove", "duration": 0, "x": x, "y": y },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.ask("actions", &json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": steps }] }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
    }
}

fn post(url: &str, body: &Value) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.post(url).send_json(body).expect("chromedriver answers");
    let said: Value = answer.body_mut().read_json().expect("JSON");
    assert!(answer.status().is_success(), "{url}: {said}");
    said["value"].clone()
}

fn page_of_a_planted_bug(folder: &Path) -> String {
    let file = folder.join("run.html");
    let tenure = Command::new(env!("CARGO_BIN_EXE_tenure"))
        .args(["replay", "mutex", "--planted", "unlock-by-name", "--seed", "38", "--html"])
        .arg(&file)
        .output()
        .expect("runs");
    assert_eq!(tenure.status.code(), Some(1), "{}", String::from_utf8_lossy(&tenure.stderr));
    format!("file://{}", file.display())
}

/// Of a run that `tenure explore` found, which has no plan and no network.
fn page_of_an_explored_run(folder: &Path) -> String {
    let tenure = Command::new(env!("CARGO_BIN_EXE_tenure"))
        .args(["explore", "mutex-2x2-late", "--planted", "unlock-by-name"])
        .current_dir(folder)
        .output()
        .expect("runs");
    assert_eq!(tenure.status.code(), Some(1), "{}", String::from_utf8_lossy(&tenure.stderr));
    let file = folder.join("capsules/explore-mutex-2x2-late-unlock-by-name.html");
    format!("file://{}", file.display())
}

/// A page of two who believe at once opens there, so near that one sees for how long they do.
fn shows_two_believers(browser: &Browser, url: &str) {
    browser.ask("url", &json!({ "url": url }));
    let seen = browser.script(
        "const { picture } = tenure; const one = picture.conflictAt(picture.chosen);\
         return one === undefined ? -1 : picture.x(one.to) - picture.x(one.from);",
    );
    assert!(seen.as_f64().expect("a width") > 20.0, "{seen} pixels");
}

/// What must be true at any width.
fn looks_right(browser: &Browser, url: &str) {
    // Loads the page and waits for it; its script has run by then.
    browser.ask("url", &json!({ "url": url }));
    let is_true = |what: &str, code: &str| assert_eq!(browser.script(code), json!(true), "{what}");
    is_true("the page is ready", "return document.body.dataset.ready === 'yes';");
    is_true(
        "the violation is in view",
        "const { model, picture } = tenure;\
         return model.violations.some((one) => one.step === picture.chosen) && picture.isInView(picture.chosen);",
    );
    let fits = "const root = document.documentElement; return root.scrollWidth <= root.clientWidth;";
    is_true("nothing sticks out to the side", fits);
    let colours = browser.script(
        "tenure.picture.paint(); const c = document.getElementById('canvas'); const seen = new Set();\
         const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;\
         for (let i = 0; i < d.length; i += 4) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]); return seen.size;",
    );
    assert!(colours.as_u64().expect("a count") > 20, "the picture is empty: {colours} colours");
    let place = browser.script(
        "const { model, picture } = tenure; const canvas = document.getElementById('canvas');\
         const isNearest = (index, [x, y]) => [-1, 0, 1].every((by) => (picture.find(x + by, y) || {}).step === index);\
         const step = model.steps.findIndex((one, index) => {\
           if (one.about !== 'call') return false;\
           picture.setView(one.at - 2e6, one.at + 2e6);\
           return isNearest(index, picture.place(index));\
         });\
         picture.paint();\
         canvas.scrollIntoView({ block: 'center' }); const box = canvas.getBoundingClientRect();\
         const [x, y] = picture.place(step); return [step, Math.round(box.left + x), Math.round(box.top + y)];",
    );
    browser.click(place[1].as_i64().expect("x"), place[2].as_i64().expect("y"));
    let details = browser.script("return document.getElementById('details').innerText;");
    let details = details.as_str().expect("text");
    assert!(details.starts_with(&format!("Step {},", place[0])), "clicked on step {}: {details}", place[0]);
    assert!(details.contains("All of call "), "the whole call is told: {details}");
    let log = browser.ask("se/log", &json!({ "type": "browser" }));
    assert_eq!(log, json!([]), "the console is silent");
}

#[test]
fn a_page_draws_shows_the_violation_and_opens_a_step_on_a_wide_and_on_a_narrow_screen() {
    let Some(driver) = Driver::start() else {
        eprintln!("skipped: no chromedriver on this machine (Debian: chromium, chromium-driver)");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let urls = [page_of_a_planted_bug(folder.path()), page_of_an_explored_run(folder.path())];
    for (width, height) in [(1280, 900), (400, 800)] {
        let profile = folder.path().join(format!("profile-{width}"));
        let browser = Browser::open(&driver, &profile, width, height);
        shows_two_believers(&browser, &urls[0]);
        for url in &urls {
            looks_right(&browser, url);
        }
    }
}
