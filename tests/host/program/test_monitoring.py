"""What Prometheus gets of a running broker, and what boards/raspberry-pi/monitoring makes of it."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from configuration import write
from drivers.paho import Paho
from port.core.auth.password_file import make_record
from port.core.auth.passwords import SALT_SIZE
from port.core.monitor.metrics import TYPES, families
from port.core.broker import Broker
from port.cpython.monitor.process_metrics import Process
from server_process import RUNTIMES, free_port
from toolchain import ROOT

FOLDER = ROOT / "boards" / "raspberry-pi" / "monitoring"
SECONDS = 60


class Monitored:
    """A broker of either runtime with info pages, and somebody who uses it."""

    def __init__(self, server_process, runtime, folder):
        self.port, self.pages = free_port(), free_port()
        values = {
            "auth": [{"type": "users", "name": 'us"ers', "users": {"ann": make_record(b"apple", b"s" * SALT_SIZE, 1000)}}],
            "listener": [{"id": "lan", "port": self.port}, {"id": "info", "type": "http", "port": self.pages, "auth": []}],
        }
        path = Path(write(folder / "broker.conf", runtime, values))
        if runtime == "cpython":
            path.write_text(path.read_text() + '[store]\ntype = "sqlite"\nfile = "broker.db"\n')
        self.process = server_process(runtime, "--config", str(path))

    def page(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.pages, timeout=SECONDS) as answer:
            return answer.read().decode()

    def use(self):
        """Some of all there is to count."""
        for version in (4, 5):
            client = Paho(self.port, "c%d" % version, version, user="ann", password="apple", persistent=True)
            client.subscribe("t/#", 2)
            for qos in (0, 1, 2):
                client.publish("t/%d" % qos, b"x", qos)
                assert client.receive().payload == b"x"
            client.disconnect()


@pytest.fixture(scope="module")
def brokers(server_process, tmp_path_factory):
    """{runtime: Monitored}"""
    found = {}
    try:
        for runtime in RUNTIMES:
            found[runtime] = Monitored(server_process, runtime, tmp_path_factory.mktemp(runtime))
        yield found
        assert not any(broker.process.trouble() for broker in found.values())
    finally:
        for broker in found.values():
            broker.process.stop()


def samples(page):
    """{sample as it is written: value}"""
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[:1] != "#"}


def promtool(tool, *arguments, text=None):
    done = subprocess.run([tool("promtool"), *map(str, arguments)], input=text, cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_promtool_has_nothing_to_say(brokers, runtime, tool):
    brokers[runtime].use()
    page = brokers[runtime].page()
    assert promtool(tool, "check", "metrics", text=page) == ""
    found = samples(page)
    for sample, least in (
        ('messages_received_total{qos="0"}', 2), ('messages_sent_total{qos="1"}', 2), ('messages_received_total{qos="2"}', 2),
        ("received_bytes_total", 100), ('disconnects_total{reason="normal"}', 2), ('connections_accepted_total{listener="lan"}', 2),
        ('authenticator_answers_total{authenticator="us\\"ers",result="accepted"}', 2), ("clients_connected_max", 1),
        ('authenticator_duration_seconds_count{authenticator="us\\"ers"}', 2), ('sessions{state="disconnected"}', 2),
        ("heap_used_bytes" if runtime == "micropython" else 'store_batch_duration_seconds_count{store="sqlite"}', 1),
    ):  # fmt: skip
        assert found["ucomqtt_" + sample] >= least, sample
    assert found['ucomqtt_clients_connected{listener="lan",version="5.0"}'] == 0
    assert found['ucomqtt_listener_connections{listener="info"}'] == 1


def test_what_the_process_takes(brokers):
    broker = brokers["cpython"]
    pid = broker.process.pid
    found = samples(broker.page())
    assert 0 < found["process_cpu_seconds_total"] < 3600
    assert abs(found["process_start_time_seconds"] - Path("/proc/%d" % pid).stat().st_ctime) < 60
    assert found["process_resident_memory_bytes"] > 1e7
    assert found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]
    # The one that asks has gone meanwhile, or not yet.
    assert abs(found["process_open_fds"] - len(os.listdir("/proc/%d/fd" % pid))) <= 2 < found["process_open_fds"]
    assert found["process_max_fds"] > found["process_open_fds"]
    while samples(broker.page())["ucomqtt_event_loop_delay_seconds_count"] == 0:
        time.sleep(0.1)


def test_metrics_that_other_hosts_have_not(monkeypatch):
    """Without /proc what it tells is left out."""
    monkeypatch.setattr("port.cpython.monitor.process_metrics._read", lambda path: "")
    monkeypatch.setattr("port.cpython.monitor.process_metrics._open_files", lambda: None)
    found = [row[0] for row, values in Process().families(Broker()) if list(values)]
    assert "process_cpu_seconds_total" in found and "process_resident_memory_bytes" not in found and "process_open_fds" not in found


def test_readme_lists_all_metrics():
    rows = []
    broker = Broker()
    for row, _ in [*families(broker), *Process().families(broker)]:
        name, kind, labels, text = row
        rows.append("| `%s` | %s | %s | %s |" % (name, TYPES[kind], ", ".join(labels), text))
    readme = (FOLDER / "README.md").read_text()
    assert re.findall(r"^\| `(?:ucomqtt|process|python)_.*", readme, re.MULTILINE) == rows, "\n".join(rows)


def test_the_scrape_configuration_of_readme_is_the_one_that_is_tested():
    readme = (FOLDER / "README.md").read_text()
    block, = [text for text in re.findall(r"^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL) if "scrape_configs" in text]
    assert block in (FOLDER / "prometheus.yml").read_text()


def test_the_rules_are_right(tool):
    promtool(tool, "check", "config", "prometheus.yml")
    promtool(tool, "test", "rules", "alerts_test.yml")
    tested = (FOLDER / "alerts_test.yml").read_text()
    for alert in re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text()):
        assert re.search(r"alertname: %s\n +exp_alerts" % alert, tested), alert
        assert "alertname: %s}" % alert in tested.split("- name: ")[1], alert  # quiet while all is well


def dashboard():
    found = json.loads((FOLDER / "dashboard.json").read_text())
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    return found, panels


def test_the_dashboard_asks_for_its_data_source():
    found, panels = dashboard()
    source = {"type": "prometheus", "uid": "${datasource}"}
    kinds = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert kinds["datasource"]["type"] == "datasource" and kinds["datasource"]["query"] == "prometheus"
    assert kinds["instance"]["datasource"] == source
    for panel in panels:
        assert panel["datasource"] == source and panel["targets"]
        assert all(target["datasource"] == source and "$instance" in target["expr"] for target in panel["targets"])
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in found["panels"]]
    for i, one in enumerate(places):
        for other in places[:i]:
            apart = one["x"] >= other["x"] + other["w"] or other["x"] >= one["x"] + one["w"]
            assert apart or one["y"] >= other["y"] + other["h"] or other["y"] >= one["y"] + one["h"], (one, other)


class Prometheus:
    """A Prometheus with the configuration that is shipped, but that it scrapes these brokers, and every second."""

    def __init__(self, program, folder, ports):
        text = (FOLDER / "prometheus.yml").read_text()
        assert text.count('"127.0.0.1:8080"') == 1 and text.count("15s") == 2
        targets = ", ".join('"127.0.0.1:%d"' % port for port in ports)
        (folder / "prometheus.yml").write_text(text.replace('"127.0.0.1:8080"', targets).replace("15s", "1s"))
        shutil.copy(FOLDER / "alerts.yml", folder)
        self.port = free_port()
        self.log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:%d" % self.port],
            cwd=folder, stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def get(self, path, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/api/v1/%s%s" % (self.port, path, query), timeout=SECONDS) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as e:
            raise AssertionError(parameters, e.read()) from None
        assert found["status"] == "success" and not found.get("warnings"), found
        return found["data"]

    def values(self, expression):
        """What an expression comes to now, the numbers of it."""
        assert "$" not in expression, expression
        found = [float(result["value"][1]) for result in self.get("query", query=expression)["result"]]
        return [value for value in found if value == value]

    def wait(self):
        """Until it answers."""
        deadline = time.monotonic() + SECONDS
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, Path(self.log.name).read_text()
            try:
                urllib.request.urlopen("http://127.0.0.1:%d/-/ready" % self.port, timeout=SECONDS).close()
                return
            except OSError:
                time.sleep(0.05)

    def stop(self):
        self._process.terminate()
        self._process.wait(SECONDS)
        self.log.close()


@pytest.fixture
def prometheus(tool, brokers, tmp_path):
    started = Prometheus(tool("prometheus"), tmp_path, [broker.pages for broker in brokers.values()])
    try:
        started.wait()
        yield started
    finally:
        started.stop()


def test_every_expression_has_a_result(brokers, prometheus):
    """Those of the dashboard, and what the rules ask for, while Prometheus scrapes both brokers and somebody uses them."""
    found, panels = dashboard()
    open_ones = {target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".+")
                 for panel in panels for target in panel["targets"]}
    assert len(open_ones) > 50
    rules = (FOLDER / "alerts.yml").read_text()
    open_ones |= set(re.findall(r"\b(?:instance:)?(?:ucomqtt|process)_[\w:]+", rules.partition("groups:")[2]))
    assert "ucomqtt_store_failing" in open_ones and "instance:ucomqtt_refusals:rate10m" in open_ones
    deadline = time.monotonic() + SECONDS
    while open_ones:
        assert time.monotonic() < deadline, sorted(open_ones)
        for broker in brokers.values():
            broker.use()
        open_ones = {expression for expression in open_ones if not prometheus.values(expression)}
    for target in prometheus.get("targets")["activeTargets"]:
        assert target["health"] == "up" and not target["lastError"], target
    (metric, label), = re.findall(r"^label_values\((\w+), (\w+)\)$", found["templating"]["list"][1]["query"]["query"])
    assert len(prometheus.get("label/%s/values" % label, **{"match[]": metric})) == len(brokers)
    for group in prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule
            assert not rule.get("alerts"), rule  # nothing is wrong
