//! A real browser, headless: Chromium, told what to do over its DevTools pipe.
//!
//! Not for judging. Invariants: it has a profile of its own, and ends with its owner; what a page complains of and what it loads is kept.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A running Chromium with one page.
pub struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    next: u64,
    /// What the page said: errors, warnings, violations of its policy.
    pub complaints: Vec<String>,
    /// What was loaded, by its address.
    pub loaded: Vec<String>,
    _profile: tempfile::TempDir,
}

/// Chromium, as Debian calls it; that of Ubuntu's packages only starts where snaps do.
fn program() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join("chromium")).find(|path| path.is_file())?;
    let starts = Command::new(&found).arg("--version").stdin(Stdio::null()).output();
    starts.is_ok_and(|output| output.status.success()).then_some(found)
}

impl Browser {
    /// Starts one; `None`, with a line on stderr, where there is none. `make test` installs it where it can, and says by `EGOFX_TEST_CHROMIUM`
    /// that it must be there.
    pub fn start() -> Option<Self> {
        let is_promised = std::env::var_os("EGOFX_TEST_CHROMIUM").is_some();
        let Some(program) = program() else {
            assert!(!is_promised, "EGOFX_TEST_CHROMIUM is set, and no chromium on the PATH starts");
            eprintln!(
                "not run: no chromium on the PATH starts; `make setup-test` installs it where Debian's apt-get is"
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // DevTools read from descriptor 3 and write to 4. A browser that hangs is ended, and with it its answers.
        command.args(["-c", "exec timeout -k 5 300 \"$0\" \"$@\" 3<&0 4>&1 1>&2 0</dev/null"]).arg(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (commands, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (complaints, loaded) = (Vec::new(), Vec::new());
        let mut browser =
            Self { child, commands, answers, session: None, next: 0, complaints, loaded, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of DevTools, and keeps what happens meanwhile.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let commands = self.commands.as_mut().unwrap();
        commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "chromium has ended");
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        let params = &answer["params"];
        match answer["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") => self.complaints.push(params["args"].to_string()),
            Some("Log.entryAdded") => self.complaints.push(params["entry"]["text"].to_string()),
            Some("Network.requestWillBeSent") => {
                self.loaded.push(params["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
        answer
    }

    /// Opens a file and waits until its script has ended.
    pub fn open(&mut self, path: &Path) {
        self.call("Page.navigate", json!({"url": format!("file://{}", path.display())}));
        self.wait("document.documentElement?.dataset.ready === 'true'");
    }

    /// What an expression comes to.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let started = Instant::now();
        while self.value(expression) != Value::Bool(true) {
            assert!(started.elapsed() < Duration::from_secs(60), "not within a minute: {expression}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Presses a key, `ArrowRight` for instance.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key}));
        }
    }

    /// Moves the mouse to a place in the window.
    pub fn point(&mut self, x: f64, y: f64) {
        self.call("Input.dispatchMouseEvent", json!({"type": "mouseMoved", "x": x, "y": y}));
    }

    /// Takes what the page prefers, `dark`, and what it is shown on, `print` or nothing.
    pub fn media(&mut self, scheme: &str, media: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without its pipe it ends by itself, unless it hangs.
        self.commands = None;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
