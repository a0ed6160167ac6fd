//! A contract is a script: requests in order, each with the answer it must get.

use super::pattern::{ANY, TIME, differences, mismatches, normalise};
use super::target::Target;
use miroir_meili::{HeaderMap, HeaderName, HeaderValue, Method, NodeTaskUid, NodeVersion};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a node may take for one of these small tasks.
const TASK_DEADLINE: Duration = Duration::from_secs(60);

/// One request and what must come back.
pub struct Step {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    status: u16,
    /// Another status that is right too.
    or_status: u16,
    answer: Value,
    task: Option<Value>,
    known: Vec<&'static str>,
    applies: fn(&NodeVersion) -> bool,
}

fn step(method: Method, path: &str) -> Step {
    Step {
        method,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        status: 200,
        or_status: 200,
        answer: ANY.into(),
        task: None,
        known: Vec::new(),
        applies: |_| true,
    }
}

/// A request without a body.
pub fn get(path: &str) -> Step {
    step(Method::GET, path)
}

/// A request without a body.
pub fn delete(path: &str) -> Step {
    step(Method::DELETE, path)
}

/// A request with a JSON body.
pub fn post(path: &str, body: Value) -> Step {
    step(Method::POST, path).typed("application/json", &body.to_string())
}

/// A request with a JSON body.
pub fn put(path: &str, body: Value) -> Step {
    step(Method::PUT, path).typed("application/json", &body.to_string())
}

/// A request with a JSON body.
pub fn patch(path: &str, body: Value) -> Step {
    step(Method::PATCH, path).typed("application/json", &body.to_string())
}

/// A POST whose body is sent as it is; without a type if that is empty.
pub fn post_raw(path: &str, content_type: &str, body: &str) -> Step {
    step(Method::POST, path).typed(content_type, body)
}

/// Creates an index and applies settings, for scripts about other things.
pub fn index(uid: &str, settings: Value) -> Vec<Step> {
    vec![
        post("/indexes", json!({ "uid": uid, "primaryKey": "id" })).succeeds(),
        patch(&format!("/indexes/{uid}/settings"), settings).succeeds(),
    ]
}

impl Step {
    fn typed(mut self, content_type: &str, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        if content_type.is_empty() {
            return self;
        }
        self.header("content-type", content_type)
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// The answer's body fits this pattern.
    pub fn is(mut self, pattern: Value) -> Self {
        self.answer = pattern;
        self
    }

    /// The answer has another status than 200.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self.or_status = status;
        self
    }

    /// The request is refused, some nodes blaming themselves rather than the client.
    pub fn refused_somehow(mut self) -> Self {
        self.status = 400;
        self.or_status = 500;
        self.is(json!({ "code": ANY, "message": ANY }))
            .may_differ("/status")
            .may_differ("/answer")
    }

    /// The request is refused with this status and error code, in the usual envelope.
    pub fn refused(self, status: u16, code: &str) -> Self {
        let kind = match status {
            401 | 403 => "auth",
            _ => "invalid_request",
        };
        let link = format!("https://docs.meilisearch.com/errors#{code}");
        self.status(status)
            .is(json!({ "code": code, "type": kind, "link": link, "message": ANY }))
    }

    /// The request is enqueued, and its task ends as this pattern says.
    pub fn task(mut self, pattern: Value) -> Self {
        self = self.status(202);
        self.answer = json!({ "status": "enqueued", "taskUid": ANY, "enqueuedAt": TIME });
        self.task = Some(pattern);
        self
    }

    /// The request is enqueued and succeeds.
    pub fn succeeds(self) -> Self {
        self.task(json!({ "status": "succeeded", "error": null }))
    }

    /// The request is enqueued, and its task fails with this code.
    pub fn fails(self, code: &str) -> Self {
        self.task(json!({ "status": "failed", "error": { "code": code, "message": ANY } }))
    }

    /// Answers may differ between nodes here (JSON pointer, `*` for any one step).
    pub fn may_differ(mut self, pointer: &'static str) -> Self {
        self.known.push(pointer);
        self
    }

    /// The step is left out on nodes for which `applies` is false.
    pub fn when(mut self, applies: fn(&NodeVersion) -> bool) -> Self {
        self.applies = applies;
        self
    }

    fn label(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body)
            .chars()
            .take(200)
            .collect();
        format!("{} {} {body}", self.method, self.path)
    }

    /// Sends the request, waits for its task, and compares.
    pub async fn run(&self, target: &Target) -> Outcome {
        let client = target.client(self.headers.contains_key("authorization"));
        let body = self.body.clone().into();
        let sent = client.raw(self.method.clone(), &self.path, self.headers.clone(), body);
        let answer = match sent.await {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {error}", target.name),
        };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let mut outcome = Outcome {
            status: answer.status.as_u16(),
            wrong: mismatches(&self.answer, &body),
            answer: body,
            task: Value::Null,
        };
        if ![self.status, self.or_status].contains(&outcome.status) {
            let found = format!("status {}, expected {}", outcome.status, self.status);
            outcome
                .wrong
                .insert(0, format!("{found}: {}", outcome.answer));
        } else if let Some(pattern) = &self.task {
            outcome.task = finished_task(target, &outcome.answer).await;
            outcome.wrong.extend(mismatches(pattern, &outcome.task));
        }
        normalise(&mut outcome.answer);
        normalise(&mut outcome.task);
        outcome
    }
}

/// What one node did with one step.
pub struct Outcome {
    status: u16,
    answer: Value,
    task: Value,
    /// What is not as the step says, one line each.
    pub wrong: Vec<String>,
}

impl Outcome {
    fn comparable(&self) -> Value {
        json!({ "status": self.status, "answer": self.answer, "task": self.task })
    }
}

async fn finished_task(target: &Target, enqueued: &Value) -> Value {
    let uid = enqueued["taskUid"].as_u64().unwrap_or_default() as u32;
    let deadline = Instant::now() + TASK_DEADLINE;
    loop {
        let found = target.client(false).task(NodeTaskUid(uid)).await;
        let task = match found {
            Ok(Some(task)) => task,
            other => panic!("{}: task {uid}: {other:?}", target.name),
        };
        if task.status.is_final() {
            return target.get_json(&format!("/tasks/{uid}")).await;
        }
        assert!(
            Instant::now() < deadline,
            "{}: task {uid} does not end: {task:?}",
            target.name
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the script on the embedded node, and on the real one if it is named; fails with
/// every step that did not go as it should, and every difference between the two.
pub async fn check(script: Vec<Step>) {
    let embedded = Target::embedded().await;
    let real = Target::real().await;
    let mut wrong = Vec::new();
    for step in &script {
        let ours = run_one(step, Some(&embedded), &mut wrong).await;
        let theirs = run_one(step, real.as_ref(), &mut wrong).await;
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            for line in differences(&ours.comparable(), &theirs.comparable(), &step.known()) {
                wrong.push(format!("{}\n    differs {line}", step.label()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} findings:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

impl Step {
    /// Texts are for people and change between versions, and newer versions add fields;
    /// what a program may rely on is compared.
    fn known(&self) -> Vec<&str> {
        let always = [
            "/answer/message",
            "/task/error/message",
            "/answer/requestUid",
        ];
        self.known.iter().copied().chain(always).collect()
    }
}

async fn run_one(step: &Step, target: Option<&Target>, wrong: &mut Vec<String>) -> Option<Outcome> {
    let target = target.filter(|target| (step.applies)(&target.version))?;
    let outcome = step.run(target).await;
    for line in &outcome.wrong {
        wrong.push(format!("{}\n    {}: {line}", step.label(), target.name));
    }
    Some(outcome)
}
