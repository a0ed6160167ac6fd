//! Tables of what nodes say and what clients are told.

use miroir_core::id::{IndexUid, TaskUid};

use super::*;

fn task(kind: TaskKind, details: Value) -> Task {
    Task {
        uid: TaskUid(7),
        index: IndexUid::parse("books").ok(),
        kind,
        status: TaskStatus::Enqueued,
        details,
        error: None,
        custom_metadata: None,
        parts: Vec::new(),
        enqueued_at_ms: 1_000,
        started_at_ms: None,
        finished_at_ms: None,
    }
}

fn addition() -> Task {
    task(
        TaskKind::DocumentAdditionOrUpdate,
        json!({"receivedDocuments": 5, "indexedDocuments": null, "_distinct": 4}),
    )
}

fn said(node: u64, status: NodeStatus) -> Share {
    let report = Report {
        status,
        details: None,
        error: (status == NodeStatus::Failed).then(|| NodeError {
            message: "bad".to_owned(),
            code: "invalid_document_fields".to_owned(),
            kind: "invalid_request".to_owned(),
            link: "https://x".to_owned(),
        }),
        started_at_ms: (status != NodeStatus::Enqueued).then_some(1_000 + 10 * node),
        finished_at_ms: status.is_final().then_some(2_000 + 10 * node),
    };
    Share {
        node: NodeId(node),
        counts: true,
        known: Known::Report(Box::new(report)),
    }
}

fn unheard(node: u64, known: Known) -> Share {
    Share {
        node: NodeId(node),
        counts: true,
        known,
    }
}

fn told(task: &Task, shares: &[Share]) -> Option<TaskUpdate> {
    update(
        task,
        Evidence {
            shares,
            complete: true,
            failures_covered: false,
        },
        9_000,
    )
}

#[test]
fn a_task_is_as_far_as_its_nodes() {
    use NodeStatus::{Canceled, Enqueued, Failed, Processing, Succeeded};
    let (one, two) = (|status| said(1, status), |status| said(2, status));
    let table: [(&[Share], TaskStatus); 17] = [
        (&[], TaskStatus::Succeeded),
        (&[unheard(1, Known::Nothing)], TaskStatus::Enqueued),
        (&[one(Enqueued), two(Enqueued)], TaskStatus::Enqueued),
        (&[one(Processing), two(Enqueued)], TaskStatus::Processing),
        (&[one(Enqueued), two(Processing)], TaskStatus::Processing),
        (&[one(Succeeded), two(Enqueued)], TaskStatus::Processing),
        (
            &[one(Succeeded), unheard(2, Known::Nothing)],
            TaskStatus::Processing,
        ),
        (&[one(Failed), two(Processing)], TaskStatus::Processing),
        (
            &[one(Failed), unheard(2, Known::Nothing)],
            TaskStatus::Processing,
        ),
        (&[one(Succeeded), two(Succeeded)], TaskStatus::Succeeded),
        (&[one(Succeeded), two(Failed)], TaskStatus::Failed),
        (&[one(Succeeded), two(Canceled)], TaskStatus::Canceled),
        (&[one(Failed), two(Canceled)], TaskStatus::Failed),
        (
            &[one(Succeeded), unheard(2, Known::Lost)],
            TaskStatus::Failed,
        ),
        (
            &[one(Succeeded), unheard(2, Known::Excused)],
            TaskStatus::Succeeded,
        ),
        (
            &[one(Processing), unheard(2, Known::Excused)],
            TaskStatus::Processing,
        ),
        (
            &[unheard(1, Known::Excused), unheard(2, Known::Excused)],
            TaskStatus::Failed,
        ),
    ];
    for (shares, expected) in table {
        let got = told(&addition(), shares).map_or(TaskStatus::Enqueued, |update| update.status);
        assert_eq!(got, expected, "{shares:?}");
    }
}

#[test]
fn nothing_is_told_twice() {
    let mut known = addition();
    known.status = TaskStatus::Processing;
    assert_eq!(
        told(
            &known,
            &[
                said(1, NodeStatus::Processing),
                said(2, NodeStatus::Enqueued)
            ]
        ),
        None
    );
    assert_eq!(told(&addition(), &[said(1, NodeStatus::Enqueued)]), None);
}

#[test]
fn a_task_without_all_of_its_shares_does_not_end() {
    let shares = [said(1, NodeStatus::Succeeded)];
    let evidence = Evidence {
        shares: &shares,
        complete: false,
        failures_covered: false,
    };
    let status = update(&addition(), evidence, 0).map(|update| update.status);
    assert_eq!(status, Some(TaskStatus::Processing));
    let evidence = Evidence {
        shares: &[],
        complete: false,
        failures_covered: false,
    };
    assert_eq!(update(&addition(), evidence, 0), None);
}

#[test]
fn a_failure_that_other_copies_cover_is_none() {
    let shares = [said(1, NodeStatus::Succeeded), said(2, NodeStatus::Failed)];
    let evidence = Evidence {
        shares: &shares,
        complete: true,
        failures_covered: true,
    };
    let update = update(&addition(), evidence, 0).expect("it ended");
    assert_eq!((update.status, update.error), (TaskStatus::Succeeded, None));
}

#[test]
fn times_are_the_first_begin_and_the_last_end_and_never_go_back() {
    let ended = told(
        &addition(),
        &[
            said(2, NodeStatus::Succeeded),
            said(1, NodeStatus::Succeeded),
        ],
    );
    let ended = ended.expect("it ended");
    assert_eq!(
        (ended.started_at_ms, ended.finished_at_ms),
        (Some(1_010), Some(2_020))
    );
    // A node whose clock is behind seems to have ended before the task was registered.
    let mut late = addition();
    late.enqueued_at_ms = 5_000;
    let ended = told(&late, &[said(1, NodeStatus::Succeeded)]).expect("it ended");
    assert_eq!(
        (ended.started_at_ms, ended.finished_at_ms),
        (Some(5_000), Some(5_000))
    );
    let ended = told(&addition(), &[]).expect("it ended");
    assert_eq!(
        (ended.started_at_ms, ended.finished_at_ms),
        (Some(9_000), Some(9_000))
    );
    let begun = told(&addition(), &[said(1, NodeStatus::Processing)]).expect("it began");
    assert_eq!(
        (begun.started_at_ms, begun.finished_at_ms, begun.details),
        (Some(1_010), None, None)
    );
}

#[test]
fn documents_are_counted_once_whatever_the_number_of_copies() {
    let deleted = |node: u64, counts: bool, documents: u64| {
        let mut share = said(node, NodeStatus::Succeeded);
        share.counts = counts;
        if let Known::Report(report) = &mut share.known {
            report.details =
                Some(json!({"deletedDocuments": documents, "indexedDocuments": documents}));
        }
        share
    };
    let shares = [
        deleted(1, true, 3),
        deleted(2, false, 3),
        deleted(2, true, 2),
        deleted(3, false, 9),
    ];
    let details =
        |task: &Task, shares: &[Share]| told(task, shares).and_then(|update| update.details);
    let addition = addition();
    assert_eq!(
        details(&addition, &shares),
        Some(json!({"receivedDocuments": 5, "indexedDocuments": 4}))
    );
    let deletion = task(
        TaskKind::DocumentDeletion,
        json!({"providedIds": 6, "deletedDocuments": null}),
    );
    assert_eq!(
        details(&deletion, &shares),
        Some(json!({"providedIds": 6, "deletedDocuments": 5}))
    );
    let index = task(TaskKind::IndexDeletion, json!({"deletedDocuments": null}));
    assert_eq!(
        details(&index, &shares),
        Some(json!({"deletedDocuments": 5}))
    );
    let of_copies = task(
        TaskKind::IndexDeletion,
        json!({"deletedDocuments": null, "_copies": 20, "_shards": 4}),
    );
    assert_eq!(
        details(&of_copies, &shares),
        Some(json!({"deletedDocuments": 1}))
    );
    let settings = task(
        TaskKind::SettingsUpdate,
        json!({"stopWords": ["a"], "_version": 3}),
    );
    assert_eq!(
        details(&settings, &shares),
        Some(json!({"stopWords": ["a"]}))
    );

    let failed = [deleted(1, true, 3), said(2, NodeStatus::Failed)];
    assert_eq!(
        details(&addition, &failed),
        Some(json!({"receivedDocuments": 5, "indexedDocuments": 0}))
    );
    assert_eq!(
        details(&deletion, &failed),
        Some(json!({"providedIds": 6, "deletedDocuments": 0}))
    );
}

#[test]
fn the_first_failed_nodes_error_is_told_without_the_hidden_field() {
    let mut share = said(2, NodeStatus::Failed);
    if let Known::Report(report) = &mut share.known {
        report.error.as_mut().expect("it failed").message =
            "Attribute `x` is not filterable. Available filterable attribute patterns are: `_miroir_shard`, `a`."
                .to_owned();
    }
    let update = told(
        &addition(),
        &[
            said(1, NodeStatus::Succeeded),
            share,
            said(3, NodeStatus::Failed),
        ],
    );
    let expected = json!({
        "message": "Attribute `x` is not filterable. Available filterable attribute patterns are: `a`.",
        "code": "invalid_document_fields",
        "type": "invalid_request",
        "link": "https://x",
    });
    assert_eq!(update.and_then(|update| update.error), Some(expected));
    let update = told(&addition(), &[unheard(4, Known::Lost)]).expect("it ended");
    let error = update.error.expect("it failed");
    assert_eq!(error["code"], "internal");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("Node 4 has lost the task")),
        "{error}"
    );
}

#[test]
fn an_index_that_is_gone_already_is_deleted_well() {
    let mut share = said(1, NodeStatus::Failed);
    if let Known::Report(report) = &mut share.known {
        report.error.as_mut().expect("it failed").code = "index_not_found".to_owned();
    }
    let deletion = task(TaskKind::IndexDeletion, json!({"deletedDocuments": null}));
    let update = told(&deletion, std::slice::from_ref(&share)).expect("it ended");
    assert_eq!(update.status, TaskStatus::Succeeded);
    // To documents the same answer is a failure.
    assert_eq!(
        told(&addition(), &[share]).map(|update| update.status),
        Some(TaskStatus::Failed)
    );
}
