//! A headless browser, spoken to over a pair of pipes in the DevTools protocol: JSON with a zero byte after each message.

use super::tools::find;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where the browser is; `$CHROME` wins.
pub(super) fn browser() -> Option<PathBuf> {
    let told = std::env::var_os("CHROME").map(PathBuf::from).filter(|path| path.is_file());
    told.or_else(|| ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find))
}

/// One browser with one empty page. Dropped, it is gone with all its processes.
pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    last: u64,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) width: u32,
    pub(super) dark: bool,
}

impl Browser {
    /// Starts it with an empty profile in `profile`.
    pub(super) fn start(program: &Path, profile: &Path) -> Result<Self> {
        // It reads from descriptor 3 and writes to 4; a shell is what can put ours there.
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1"#]).arg(program);
        shell.args(["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]);
        // Small containers have a small /dev/shm.
        shell.args(["--disable-dev-shm-usage", "--hide-scrollbars"]);
        shell.arg(format!("--user-data-dir={}", profile.display()));
        if rustix::process::geteuid().is_root() {
            shell.arg("--no-sandbox");
        }
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the browser was started without pipes")
        };
        let mut browser = Self { child, to, from: BufReader::new(from), session: String::new(), last: 0 };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = browser
            .call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }))?;
        browser.session = attached["sessionId"].as_str().context("no session")?.to_owned();
        browser.call("Page.enable", json!({}))?;
        Ok(browser)
    }

    /// Calls a method and returns its result.
    pub(super) fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let id = self.last;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to.write_all(&bytes).context("the browser is gone")?;
        loop {
            let reply = self.next()?;
            if reply["id"] == id {
                if let Some(error) = reply["error"]["message"].as_str() {
                    bail!("{method}: {error}");
                }
                return Ok(reply["result"].clone());
            }
        }
    }

    /// Waits for an event.
    fn wait_for(&mut self, event: &str) -> Result<()> {
        while self.next()?["method"] != event {}
        Ok(())
    }

    fn next(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes)?;
        if bytes.pop() != Some(0) {
            bail!("the browser ended");
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Loads a file, without running its scripts.
    pub(super) fn load(&mut self, file: &Path, view: View) -> Result<()> {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }))?;
        let metrics =
            json!({ "width": view.width, "height": 900, "deviceScaleFactor": 1, "mobile": view.width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let scheme = if view.dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features)?;
        let url = format!("file://{}", file.display());
        let done = self.call("Page.navigate", json!({ "url": url }))?;
        if let Some(error) = done["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.wait_for("Page.loadEventFired")
    }

    /// Every element that matches, as node ids.
    pub(super) fn select(&mut self, selector: &str) -> Result<Vec<Value>> {
        let document = self.call("DOM.getDocument", json!({ "depth": 0 }))?;
        let root = document["root"]["nodeId"].clone();
        let found = self.call("DOM.querySelectorAll", json!({ "nodeId": root, "selector": selector }))?;
        Ok(found["nodeIds"].as_array().cloned().unwrap_or_default())
    }

    /// Width and height of an element in pixels; `None` when it is not rendered.
    pub(super) fn size(&mut self, node: &Value) -> Option<(u64, u64)> {
        let model = self.call("DOM.getBoxModel", json!({ "nodeId": node })).ok()?;
        Some((model["model"]["width"].as_u64()?, model["model"]["height"].as_u64()?))
    }

    /// Width of everything on the page.
    pub(super) fn content_width(&mut self) -> Result<f64> {
        let metrics = self.call("Page.getLayoutMetrics", json!({}))?;
        metrics["cssContentSize"]["width"].as_f64().context("no width")
    }

    /// A picture of the whole page, PNG in base64.
    pub(super) fn picture(&mut self) -> Result<String> {
        let shot = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }))?;
        Ok(shot["data"].as_str().context("no picture")?.to_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Renderers are children of its own group.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::KILL,
        );
        let _ = self.child.wait();
    }
}
