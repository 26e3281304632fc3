"""Answers of the fake W&B server to each GraphQL operation; see fake_wandb_server.py."""

import itertools
import json
import math
import random
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

ENTITY = "local"
MOMENT = "2026-01-01T00:00:00Z"
NO_MORE = {"endCursor": None, "hasNextPage": False}


@dataclass(kw_only=True)
class Run:
    """One run on the server."""

    id: str
    project: str = ""
    display_name: str = ""
    group: str = ""
    job_type: str = ""
    sweep: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    host: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    starts: int = 0
    """Number of times that a client started or resumed it."""

    @property
    def state(self) -> str:
        """State as on the web pages; a run whose client vanished counts as running."""
        return {None: "running", 0: "finished"}.get(self.exit_code, "failed")

    def rows(self) -> list[dict[str, Any]]:
        """Return the epoch rows without wandb's own keys, comparable with metrics.jsonl."""
        rows = [row for row in self.history if "epoch" in row]
        return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]


@dataclass(kw_only=True)
class Artifact:
    """One version of an artifact."""

    id: str
    name: str
    type: str
    state: str = "PENDING"
    manifest: str = ""
    files: list[str] = field(default_factory=list)


class Refusal(Exception):  # noqa: N818 - an answer rather than a mistake of this server
    """An error status with a message, in place of an operation's data."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Answers:
    """Data of the server, and one method for each operation that the client sends."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.blobs: dict[str, bytes] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.deleted: set[str] = set()
        """Ids of runs that were deleted on the web pages; the server never takes them again."""
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.url = ""

    def run(self, run_id: str) -> Run:
        """Return the run of that id; create it if it is new."""
        return self.runs.setdefault(run_id, Run(id=run_id))

    def delete(self, run_id: str) -> None:
        """Delete a run as on the web pages."""
        del self.runs[run_id]
        self.deleted.add(run_id)

    def graphql(self, query: dict[str, Any], url: str) -> dict[str, Any]:
        """Answer one request; an unknown operation gets no answer, as from an old server.

        Args:
            query: the decoded body.
            url: of this server, for the upload addresses in answers.
        """
        self.url = url
        text, variables = query.get("query", ""), query.get("variables") or {}
        found = re.search(r"(?:query|mutation)\s+(\w+)", text)
        name = query.get("operationName") or (found[1] if found else "?")
        self.operations.append(name)
        method = getattr(self, "on_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), None)
        if method is None and "viewer" in text[:200].lower():
            method = self.on_viewer
        if method is None and "project(" in text and self.asked_run(variables):
            method = self.on_run
        if method is None:
            self.unknown.append(name)
            return {"data": {}}
        return {"data": method(variables)}

    # Runs.

    def on_upsert_bucket(self, v: dict[str, Any]) -> dict[str, Any]:
        run_id = v.get("name") or v["id"]
        if run_id in self.deleted:
            raise Refusal(409, f"run {run_id} was previously created and deleted; try a new run name")
        inserted = run_id not in self.runs
        run = self.run(run_id)
        run.starts += 1
        names = {"display_name": "displayName", "group": "groupName", "job_type": "jobType"}
        for ours in ("project", "sweep", "tags", "notes", "host", *names):
            if v.get(names.get(ours, ours)):
                setattr(run, ours, v[names.get(ours, ours)])
        if v.get("config"):
            run.config = {key: item.get("value") for key, item in json.loads(v["config"]).items()}
        if v.get("summaryMetrics"):
            run.summary = json.loads(v["summaryMetrics"])
        # The length of the history goes only to a client that resumes; the others write from the first line on.
        return {"upsertBucket": {"inserted": inserted, "bucket": self.bucket(run) | {"historyLineCount": 0}}}

    def on_run_resume_status(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        return {"model": self.project(v.get("project")) | {"bucket": run and self.bucket(run)}}

    def on_create_run_files(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{v['run']}/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def bucket(self, run: Run) -> dict[str, Any]:
        """Return a run for a writing client; it resumes from the counts and tails."""
        return {
            "id": run.id,
            "name": run.id,
            "displayName": run.display_name or run.id,
            "description": "",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "summaryMetrics": json.dumps(run.summary),
            "sweepName": run.sweep or None,
            "project": self.project(run.project),
            "historyLineCount": len(run.history),
            "eventsLineCount": len(run.events),
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": json.dumps([json.dumps(row) for row in run.events[-1:]]),
            "tags": run.tags,
            "notes": run.notes,
            "wandbConfig": json.dumps({"t": 1}),
        }

    # Reading, as wandb.Api does.

    def on_viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        names = {"entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": ""}
        return {"viewer": names | {"id": "u1", "admin": False, "flags": "{}", "apiKeys": {"edges": []}, "teams": teams}}

    def on_runs(self, v: dict[str, Any]) -> dict[str, Any]:
        wanted = json.loads(v.get("filters") or "{}")
        hits = [r for r in self.runs.values() if r.project == v["project"] and fits(r, wanted)]
        edges = [{"node": self.node(run, v), "cursor": str(place)} for place, run in enumerate(hits)]
        runs = {"edges": edges, "pageInfo": NO_MORE}
        return {"project": {"internalId": "1", "runCount": len(hits), "readOnly": False, "runs": runs}}

    def on_run(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.asked_run(v)
        return {"project": {"run": run and self.node(run, v)}}

    def asked_run(self, v: dict[str, Any]) -> Run | None:
        """Return the run that a query names."""
        return self.runs.get(v.get("runName") or v.get("run") or v.get("name") or "")

    def node(self, run: Run, v: dict[str, Any]) -> dict[str, Any]:
        """Return a run for a reading client, history included."""
        low, high = v.get("minStep", 0), v.get("maxStep", 1 << 60)
        specs = [json.loads(spec) for spec in v.get("specs") or []]
        return self.bucket(run) | {
            "projectId": "1",
            "group": run.group or None,
            "jobType": run.job_type or None,
            "state": run.state,
            "systemMetrics": "{}",
            "historyKeys": {"lastStep": len(run.history), "keys": {}},
            "commit": None,
            "readOnly": False,
            "createdAt": MOMENT,
            "heartbeatAt": MOMENT,
            "user": {"name": ENTITY, "username": ENTITY},
            "history": [json.dumps(row) for row in run.history if low <= row.get("_step", 0) < high],
            "sampledHistory": [[row for row in run.history if set(s.get("keys", [])) <= set(row)] for s in specs],
            "parquetHistory": {"parquetUrls": [], "liveData": run.history},
        }

    # Artifacts.

    def on_artifact_type(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def on_create_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        asked = v["input"]
        artifact = Artifact(
            id=f"artifact{len(self.artifacts) + 1}",
            name=asked["artifactCollectionName"],
            type=asked["artifactTypeName"],
        )
        self.artifacts[artifact.id] = artifact
        sequence = {"id": "s1", "latestArtifact": None}
        answer = {"id": artifact.id, "state": artifact.state, "artifactSequence": sequence}
        return {"createArtifact": {"artifact": answer}}

    def on_create_artifact_files(self, v: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for asked in v["input"]["artifactFiles"]:
            artifact = self.artifacts[asked["artifactID"]]
            artifact.files.append(asked["name"])
            place = f"{artifact.id}/{asked['name']}"
            node = {"storagePath": place, "uploadUrl": f"{self.url}/artifact-upload/{place}", "uploadHeaders": []}
            node |= {"uploadMultipartUrls": None, "artifact": {"id": artifact.id}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_create_artifact_manifest(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": self.manifest(v["artifactID"])}

    def on_update_artifact_manifest(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"updateArtifactManifest": self.manifest(v["artifactManifestID"])}

    def manifest(self, artifact_id: str) -> dict[str, Any]:
        """Return the upload URL of an artifact's file list; a manifest has its artifact's id."""
        url = f"{self.url}/artifact-upload/{artifact_id}/wandb_manifest.json"
        return {"artifactManifest": {"id": artifact_id, "file": {"id": "f1", "uploadUrl": url, "uploadHeaders": []}}}

    def on_commit_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[v["artifactID"]].state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": "d"}}}

    # Projects, saved views and reports.

    def project(self, name: str | None) -> dict[str, Any]:
        """Return a project as every answer contains it."""
        entity = {"id": "e1", "name": ENTITY, "organization": None, "isTeam": False, "available": True}
        return {"id": "p1", "name": name or "uncategorized", "entityName": ENTITY, "entity": entity}

    def on_project_internal_id(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "p1", "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ=="}}

    def on_get_projects(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"models": {"edges": [], "pageInfo": NO_MORE}}

    on_projects = on_get_projects

    def on_upsert_model(self, v: dict[str, Any]) -> dict[str, Any]:
        project = self.project(v.get("name") or v.get("project"))
        return {"upsertModel": {"model": project, "project": project, "inserted": True}}

    def on_upsert_view(self, v: dict[str, Any]) -> dict[str, Any]:
        view_id = v.get("id") or f"view{len(self.views) + 1:03d}"
        self.views[view_id] = v | {"id": view_id, "spec": json.loads(v["spec"])}
        view = {key: v.get(key) for key in ("type", "name", "displayName", "description", "spec")}
        view |= {"id": view_id, "project": self.project(v.get("projectName")), "createdAt": MOMENT, "updatedAt": MOMENT}
        return {"upsertView": {"inserted": not v.get("id"), "view": view}}

    on_upsert_view2 = on_upsert_view

    def on_view(self, v: dict[str, Any]) -> dict[str, Any]:
        hits = [view for view in self.views.values() if view["name"] == v.get("viewName")]
        nodes = [{"id": x["id"], "displayName": x["displayName"], "spec": json.dumps(x["spec"])} for x in hits]
        return {"project": {"allViews": {"edges": [{"node": node} for node in nodes]}}}

    def on_server_features_query(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    # Sweeps.

    def on_upsert_sweep(self, v: dict[str, Any]) -> dict[str, Any]:
        sweep_id = v.get("id") or f"sweep{len(self.sweeps) + 1:03d}"
        sweep = self.sweeps.setdefault(sweep_id, {"state": "RUNNING", "queue": None})
        sweep |= {key: v[key] for key in ("config", "state") if v.get(key)} | {"project": v.get("projectName")}
        answer = {"name": sweep_id, "project": self.project(v.get("projectName"))}
        return {"upsertSweep": {"sweep": answer, "configValidationWarnings": []}}

    def on_sweep_with_runs(self, v: dict[str, Any]) -> dict[str, Any]:
        sweep = self.sweeps.get(v["sweep"])
        if sweep is None:
            return {"project": {"sweep": None}}
        answer = {"id": v["sweep"], "name": v["sweep"], "state": sweep["state"], "config": sweep["config"]}
        return {"project": {"sweep": answer | {"controller": None, "scheduler": None, "runs": {"edges": []}}}}

    def on_create_agent(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": f"agent-{v['sweep']}"}}}

    def on_heartbeat(self, v: dict[str, Any]) -> dict[str, Any]:
        commands = json.dumps(self.commands(v))
        return {"agentHeartbeat": {"agent": {"id": v["id"]}, "commands": commands}}

    def commands(self, v: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the next command for an agent: none while it is busy, a run, or exit."""
        sweep_id = v["id"].removeprefix("agent-")
        sweep = self.sweeps[sweep_id]
        config = yaml.safe_load(sweep["config"])
        if any(json.loads(v.get("runState") or "{}").values()):
            return []
        if sweep["queue"] is None:
            sweep["queue"] = points(config)
        if not sweep["queue"]:
            return [{"type": "exit"}]
        arguments = {key: {"value": value} for key, value in sweep["queue"].pop(0).items()}
        run_id = f"{sweep_id}run{len(self.runs)}"
        return [{"type": "run", "run_id": run_id, "program": config.get("program"), "args": arguments}]


def points(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the points of a sweep: all combinations, or `run_cap` random points from a fixed seed."""
    parameters = config["parameters"].items()
    if config["method"] == "grid":
        axes = [[(key, value) for value in p.get("values", [p.get("value")])] for key, p in parameters]
        return [dict(point) for point in itertools.product(*axes)]
    generator = random.Random(0)
    return [{key: drawn(p, generator) for key, p in parameters} for _ in range(config["run_cap"])]


def drawn(parameter: dict[str, Any], generator: random.Random) -> Any:
    """Draw a random value of a parameter, as the real server does."""
    if "values" in parameter:
        return generator.choice(parameter["values"])
    low, high = parameter["min"], parameter["max"]
    if parameter["distribution"] == "int_uniform":
        return generator.randint(low, high)
    if parameter["distribution"] == "log_uniform_values":
        return math.exp(generator.uniform(math.log(low), math.log(high)))
    return generator.uniform(low, high)


def fits(run: Run, wanted: dict[str, Any]) -> bool:
    """Return True if a run matches a filter of wandb.Api: group, config.KEY, and $and of these; equality only."""
    for key, value in wanted.items():
        if key == "$and":
            if not all(fits(run, part) for part in value):
                return False
        elif key == "$or":
            if not any(fits(run, part) for part in value):
                return False
        else:
            known = {"group": run.group, "jobType": run.job_type, "state": run.state, "name": run.id}
            known |= {f"config.{name}.value": item for name, item in run.config.items()}
            known |= {f"config.{name}": item for name, item in run.config.items()}
            if isinstance(value, dict) or known.get(key) != value:
                return False
    return True
