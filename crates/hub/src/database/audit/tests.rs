//! The chain in the database: what somebody with the file in hand can do to it, and two hubs that write at once.

use super::super::tests::database;
use super::*;
use crate::audit::{Broken, Finding, Mark, verify};
use sqlx::AssertSqlSafe;
use std::convert::Infallible;
use std::sync::Arc;

async fn fill(database: &Database, count: u64) {
    for number in 0..count {
        let note = Note::new("pause", format!("press-{number}")).with("number", number);
        database.note(&note, 1000 + number).await.unwrap();
    }
}

async fn broken(database: &Database, marks: &[Mark]) -> Option<Broken> {
    let entries = database.audit_after(0, 1000).await.unwrap();
    verify(entries.into_iter().map(Ok::<_, Infallible>), marks)
        .unwrap()
        .broken
}

async fn execute(database: &Database, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&database.pool)
        .await
        .map(drop)
}

/// What a thief of the database does first.
async fn disarm(database: &Database) {
    let statements: &[&str] = if database.sqlite {
        &[
            "DROP TRIGGER audit_no_update",
            "DROP TRIGGER audit_no_delete",
            "DROP TRIGGER audit_no_replace",
        ]
    } else {
        &[
            "DROP TRIGGER audit_no_change ON audit",
            "DROP TRIGGER audit_no_truncate ON audit",
        ]
    };
    for statement in statements {
        execute(database, statement).await.unwrap();
    }
}

#[tokio::test]
async fn the_database_refuses_to_change_what_was_written() {
    let (_dir, database) = database().await;
    fill(&database, 3).await;
    for statement in [
        "UPDATE audit SET actor_name = 'mallory' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
    ] {
        let error = execute(&database, statement).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    let last = if database.sqlite {
        "INSERT OR REPLACE INTO audit SELECT seq, time_ms, actor_kind, 'mallory', actor_roles, actor_method, action, \
         subject, details, previous, hash FROM audit WHERE seq = 2"
    } else {
        "TRUNCATE audit"
    };
    let error = execute(&database, last).await.unwrap_err().to_string();
    assert!(error.contains("append-only"), "{last}: {error}");
    assert_eq!(broken(&database, &[]).await, None);
}

#[tokio::test]
async fn tampering_with_the_database_itself_is_found() {
    let check = async |statements: &[&str], marked: bool, expected: Option<(u64, Finding)>| {
        let (_dir, database) = database().await;
        fill(&database, 6).await;
        let (seq, hash) = database.audit_head().await.unwrap().unwrap();
        let marks = if marked { vec![Mark { seq, hash }] } else { Vec::new() };
        disarm(&database).await;
        for statement in statements {
            execute(&database, statement).await.unwrap();
        }
        let found = broken(&database, &marks)
            .await
            .map(|broken| (broken.seq, broken.finding));
        assert_eq!(found, expected, "{statements:?}");
    };
    check(&[], true, None).await;
    let changed = Some((3, Finding::Changed));
    check(
        &["UPDATE audit SET actor_name = 'mallory' WHERE seq = 3"],
        false,
        changed,
    )
    .await;
    check(&["UPDATE audit SET details = '{}' WHERE seq = 3"], false, changed).await;
    check(&["UPDATE audit SET time_ms = 7 WHERE seq = 3"], false, changed).await;
    check(&["DELETE FROM audit WHERE seq = 3"], false, Some((3, Finding::Removed))).await;
    let close_up = [
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 6",
    ];
    check(&close_up, false, Some((3, Finding::Removed))).await;
    let swap = [
        "UPDATE audit SET seq = 99 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = 99",
    ];
    check(&swap, false, Some((3, Finding::Reordered))).await;
    let insert = [
        "UPDATE audit SET seq = 7 WHERE seq = 6",
        "UPDATE audit SET seq = 6 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = 3",
        "INSERT INTO audit SELECT 3, time_ms, actor_kind, 'mallory', actor_roles, actor_method, action, subject, details, \
         'p', 'h' FROM audit WHERE seq = 2",
    ];
    check(&insert, false, Some((3, Finding::Inserted))).await;
    let cut = ["DELETE FROM audit WHERE seq > 4"];
    check(&cut, false, None).await;
    check(&cut, true, Some((5, Finding::Truncated))).await;
}

#[tokio::test]
async fn a_change_that_fails_leaves_no_entry_and_the_next_goes_on() {
    let (_dir, database) = database().await;
    let device = "press-1".parse().unwrap();
    database.register(&device, "aa", false, 1).await.unwrap();
    let failed = database
        .issue_command("press-1", &floorhand_protocol::Action::ReportNow, 2, 3, |_| {
            Err("no key".to_owned())
        })
        .await;
    assert!(failed.is_err());
    database.register(&device, "bb", false, 4).await.unwrap();
    database.register(&device, "bb", true, 5).await.unwrap();
    let entries = database.audit_after(0, 10).await.unwrap();
    let brief: Vec<(&str, u64)> = entries
        .iter()
        .map(|entry| (entry.action.as_str(), entry.time_ms))
        .collect();
    assert_eq!(brief, [("device.enroll", 1), ("device.enroll", 5)]);
    assert_eq!(broken(&database, &[]).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_on_one_database_write_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let url = crate::testing::database_url(dir.path()).await;
    let hubs = [Database::open(&url).await.unwrap(), Database::open(&url).await.unwrap()].map(Arc::new);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40_u64 {
        let hub = Arc::clone(&hubs[number as usize % 2]);
        tasks.spawn(async move {
            let device = format!("press-{number}").parse().unwrap();
            hub.register(&device, &format!("key {number}"), false, number)
                .await
                .unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(hubs[0].audit_head().await.unwrap().unwrap().0, 40);
    assert_eq!(broken(&hubs[1], &[]).await, None);
}

#[tokio::test]
async fn triggers_that_were_taken_away_are_told_until_a_start_and_then_by_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let url = crate::testing::database_url(dir.path()).await;
    let database = Database::open(&url).await.unwrap();
    let lost = async || {
        Database::open_existing(&url)
            .await
            .unwrap()
            .lost_guards()
            .await
            .unwrap()
    };
    assert!(lost().await.is_empty());
    fill(&database, 3).await;
    let spared = if database.sqlite {
        "DROP TRIGGER audit_no_delete; CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT 1; END"
    } else {
        "ALTER TABLE audit DISABLE TRIGGER audit_no_change; DROP TRIGGER audit_no_truncate ON audit"
    };
    execute(&database, spared).await.unwrap();
    let expected: &[&str] = if database.sqlite {
        &["audit_no_delete"]
    } else {
        &["audit_no_change", "audit_no_truncate"]
    };
    assert_eq!(lost().await, expected, "one that does nothing is none");
    execute(&database, "DELETE FROM audit").await.unwrap();
    let looked_at = Database::open_existing(&url).await.unwrap();
    assert_eq!(looked_at.lost_guards().await.unwrap(), expected, "a look mends nothing");
    assert_eq!(looked_at.audit_written().await.unwrap(), 3, "so all three were cut off");
    looked_at.close().await;
    database.close().await;
    let started = Database::open(&url).await.unwrap();
    assert!(lost().await.is_empty());
    assert!(execute(&started, "DELETE FROM audit").await.is_err());
    let told = started.audit_after(0, 10).await.unwrap();
    let brief: Vec<(u64, &str)> = told.iter().map(|entry| (entry.seq, entry.action.as_str())).collect();
    assert_eq!(brief, [(4, "audit.guard")]);
    assert!(told[0].details.contains(expected[0]), "{}", told[0].details);
    started.close().await;
    let again = Database::open(&url).await.unwrap();
    assert_eq!(again.audit_written().await.unwrap(), 4, "it is told once");
}
