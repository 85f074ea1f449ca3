#!/usr/bin/env python3
"""The web console in a real browser: python3 tests/browser/console.py SIM [SCREENSHOT-DIRECTORY]

SIM is the built simulator (target/release/sim). Needs Chromium and nothing else: it is driven through its debugging pipe. Says in
one line that it was skipped where there is no browser. The operator is played here, word by word, so that what the page shows is known.
"""
import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1500,1100", "--remote-debugging-pipe"]
SECONDS = 60
STAMP = "2026-06-04T10:01:30Z"
# What a hostile cluster would say.
EVIL = "<img src=x onerror=\"document.title='broken in'\">"


class Browser:
    """One page, spoken to in the DevTools protocol over two pipes: messages end with a zero byte."""

    def __init__(self, program, profile):
        ours_out, theirs_in = os.pipe()[::-1]
        theirs_out, ours_in = os.pipe()[::-1]
        for fd, target in ((theirs_in, 3), (theirs_out, 4)):
            os.set_inheritable(fd, True)
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(["bash", "-c", command, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
                                        pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.out, self.into = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self.numbers, self.errors, self.session, self.rest = itertools.count(1), [], None, b""
        target = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in target if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")

    def call(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                read = os.read(self.into.fileno(), 1 << 16)
                if not read:
                    raise SystemExit("the browser is gone")
                self.rest += read
            text, self.rest = self.rest.split(b"\0", 1)
            said = json.loads(text)
            if said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(said["params"]["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            entry = said["params"]["entry"] if said.get("method") == "Log.entryAdded" else {}
            # Chromium logs the refusal of the wrong manifest, which the page shows in its own words.
            if entry.get("level") == "error" and "status of 422" not in entry["text"]:
                self.errors.append(entry["text"])
            if said.get("id") == number:
                if "error" in said:
                    raise SystemExit(f"{method}: {said['error']}")
                return said["result"]

    def run(self, script):
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise SystemExit(f"{script}: {said['exceptionDetails']}")
        return said["result"].get("value")

    def until(self, what, script):
        end = time.monotonic() + SECONDS
        while not self.run(script):
            if time.monotonic() > end:
                raise SystemExit(f"never within {SECONDS} s: {what}; the page says: {self.run('document.body.innerText')}")
            time.sleep(0.2)
        print(f"  {what}")

    def key(self, key, code):
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def shot(self, directory, name):
        if directory:
            data = self.call("Page.captureScreenshot", format="png")["data"]
            with open(os.path.join(directory, name + ".png"), "wb") as file:
                file.write(base64.b64decode(data))


class Agent:
    """An operator as far as the control plane can tell."""

    MEDIA = "application/vnd.vworkspace.agent.v1+json"

    def __init__(self, apiserver, odoo, name):
        secret = self.ask(f"http://{apiserver}/api/v1/namespaces/vworkspace-system/secrets/vworkspace-registration")
        self.base, self.token = odoo + "api/agent/", base64.b64decode(secret["data"]["registrationToken"]).decode()
        answer = self.post("register", {"registrationToken": self.token, "displayName": name, "operatorVersion": "1.2.3", "connectivityMode": "pull"})
        self.cluster, self.token = answer["clusterId"], answer["token"]

    def ask(self, url, body=None):
        headers = {"Accept": self.MEDIA, "Content-Type": self.MEDIA} if "/api/agent/" in url else {}
        if headers:
            headers["Authorization"] = "Bearer " + self.token
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read() or b"{}")

    def post(self, path, body):
        return self.ask(self.base + path, body)

    def poll(self):
        return self.ask(self.base + f"jobs?cluster={self.cluster}&wait=5")["jobs"]

    def tell(self, key, kind, name, condition):
        conditions = [dict(zip(("type", "status", "reason", "message"), condition), lastTransitionTime=STAMP)]
        about = {"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": kind, "name": name, "namespace": "org-a", "uid": "u1", "generation": 1}
        event = {"kind": "ConditionTransition", "resourceRef": about, "conditions": conditions, "timestamp": STAMP, "eventKey": key}
        self.post("events", {"clusterId": self.cluster, "events": [event]})


def text(node, wanted):
    return f"document.getElementById({json.dumps(node)}).innerText.includes({json.dumps(wanted)})"


def story(page, url, apiserver, shots):
    page.call("Page.navigate", url=url)
    page.until("the page shows the control plane up", "document.getElementById('face')?.innerText === 'up'")
    page.until("it says that no cluster has registered", "!document.getElementById('no-clusters').hidden")
    page.until("it shows the token that waits", text("tokens", "not used yet"))
    page.shot(shots, "empty")

    # By keyboard alone: press the focused button, read the token, close the dialog.
    page.run("document.getElementById('token').focus()")
    page.key("Enter", 13)
    page.until("a registration token is issued", "/vwksp-reg-[0-9a-f]{40}/.test(document.getElementById('token-text').textContent)")
    page.key("Escape", 27)
    page.until("its dialog closes and forgets it", "document.getElementById('token-text').textContent === ''")

    agent = Agent(apiserver, url, EVIL)
    page.until("a cluster registers, its name is text", text("clusters", EVIL))
    wrong = f"apiVersion: apps.vworkspace.io/v1alpha1\nkind: ApplicationInstance\nmetadata:\n  name: {json.dumps(EVIL)}\nspec: {{}}\n"
    page.run(f"document.getElementById('yaml').value = {json.dumps(wrong)}; document.getElementById('apply').requestSubmit()")
    page.until("a wrong manifest is refused by line and field", text("errors", "Line 4: metadata.name must be"))
    page.until("the first line that is wrong is selected", "(t => t.value.slice(t.selectionStart, t.selectionEnd).startsWith('metadata:'))(document.getElementById('yaml'))")
    page.shot(shots, "errors")
    page.run("document.getElementById('example').click(); document.getElementById('apply').requestSubmit()")
    page.until("the example is issued as a job", text("job-list", "apply ApplicationInstance org-a/files"))
    job = agent.poll()[0]["id"]
    agent.post(f"jobs/{job}/ack", {})
    page.until("the job is acknowledged", text("job-list", "acknowledged"))
    agent.post(f"jobs/{job}/status", {"phase": "Reconciling", "message": EVIL, "timestamp": STAMP, "sequence": 1})
    page.until("its status is text", text("job-list", "Reconciling: " + EVIL))
    agent.tell("a", "ApplicationInstance", "files", ("Ready", "True", "HelmReleaseReady", EVIL))
    page.until("the object is seen", text("objects", "Ready=T/HelmReleaseReady"))
    page.until("the channel is told", text("talk", "ApplicationInstance org-a/files: is ready"))
    agent.post(f"jobs/{job}/result", {"outcome": "failed", "error": "Timeout: " + EVIL, "timestamp": STAMP})
    page.until("the job has its result", text("job-list", "Timeout: " + EVIL))

    # A button keeps the focus while the list around it is drawn anew.
    page.run("document.querySelector('#job-list button').focus()")
    page.key("Enter", 13)
    page.until("the job is delivered once more", "document.activeElement.dataset.act === 'redeliver'")
    if [one["id"] for one in agent.poll()] != [job]:
        raise SystemExit("the job was not delivered again")
    page.until("and the button has the focus still", text("job-list", "delivered 2×") + " && document.activeElement.dataset.act === 'redeliver'")

    page.run("document.querySelector('#objects button').click()")
    page.until("deleting asks first", "document.getElementById('ask').open && document.activeElement.value === 'no'")
    page.run("document.querySelector('#ask button[value=yes]').click()")
    page.until("and becomes a job", text("job-list", "delete ApplicationInstance org-a/files"))
    page.shot(shots, "busy")

    page.run("document.getElementById('switch').click()")
    page.until("Odoo goes down", text("face", "down"))
    try:
        agent.poll()
        raise SystemExit("it answers although it is down")
    except OSError:
        pass
    page.run("document.getElementById('switch').click()")
    page.until("and comes back", text("switch", "Take Odoo down"))
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.shot(shots, "dark")
    page.call("Emulation.setDeviceMetricsOverride", width=420, height=900, deviceScaleFactor=1, mobile=True)
    page.until("nothing is cut off on a narrow screen", "document.documentElement.scrollWidth <= innerWidth")
    page.shot(shots, "narrow")
    if page.run("document.querySelectorAll('img').length || document.title === 'broken in'"):
        raise SystemExit("what a cluster said became markup")
    if page.errors:
        raise SystemExit("the page complains: " + "; ".join(page.errors))


def main():
    program = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if not program:
        print("no Chromium on this machine: the console was not looked at in a browser (skipped)")
        return
    simulator, shots = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    command = [simulator, "--json", "up", "--no-operator", "--listen", "127.0.0.1:0", "--odoo", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up, tempfile.TemporaryDirectory() as profile:
        try:
            said = next(json.loads(line) for line in up.stdout if '"kubeconfig"' in line)
            print(f"{said['odoo']} in {program}")
            page = Browser(program, profile)
            try:
                story(page, said["odoo"], said["address"], shots)
            finally:
                page.process.terminate()
                page.process.wait()
        finally:
            up.terminate()
    print("the console works in a browser")


main()
