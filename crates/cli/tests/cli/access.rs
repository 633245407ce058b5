//! Tokens and the audit log, on a hub's database without the hub.

use crate::common::Shop;
use serde_json::Value;
use sqlx::{ConnectOptions as _, SqliteConnection, raw_sql, sqlite::SqliteConnectOptions};

/// A shop with a hub's configuration.
fn shop() -> Shop {
    let shop = Shop::with_root();
    let text = "fleet = 'plant-a'\nassignment_key = 'hub.key'\ntrust_root = 'root.cose'\ndatabase = 'sqlite://hub.db?mode=rwc'";
    std::fs::write(shop.path("hub.toml"), text).unwrap();
    shop
}

const DATABASE: [&str; 2] = ["--database", "sqlite://hub.db?mode=rwc"];

fn token(shop: &Shop, args: &[&str]) -> crate::common::Ran {
    shop.run(&[&["hub", "token"], args, &["--config", "hub.toml"]].concat())
}

#[test]
fn the_first_token_is_made_where_the_database_is() {
    let shop = shop();
    let refused = token(&shop, &["new", "ci", "--role", "releaser"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("has to be of the role admin"),
        "{}",
        refused.stderr
    );
    let made = token(&shop, &["new", "root", "--role", "admin", "--expires-days", "0"]).ok();
    let secret = made.stdout.trim();
    assert!(secret.starts_with("fh_") && secret.len() == 67, "{secret}");
    token(&shop, &["new", "ci", "--role", "releaser", "--role", "operator"]).ok();
    let taken = token(&shop, &["new", "ci", "--role", "viewer"]);
    assert!(
        taken.code == 1 && taken.stderr.contains("there is or was a token"),
        "{}",
        taken.stderr
    );
    token(&shop, &["revoke", "ci"]).ok();
    let again = token(&shop, &["revoke", "ci"]);
    assert!(
        again.code == 1 && again.stderr.contains("was revoked before"),
        "{}",
        again.stderr
    );
    let listed = token(&shop, &["ls", "--json"]).ok();
    let listed = listed.json();
    let brief: Vec<(&str, &str, &str)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "name"), text(one, "state"), text(one, "created_by")))
        .collect();
    assert_eq!(
        brief,
        [("ci", "revoked", "command-line"), ("root", "valid", "command-line")]
    );
    let files = std::fs::read(shop.path("hub.db")).unwrap();
    assert!(
        !files.windows(secret.len()).any(|part| part == secret.as_bytes()),
        "it stands in the database"
    );
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn the_audit_log_is_exported_verified_and_found_out() {
    let shop = shop();
    for name in ["root", "anna", "bert"] {
        token(&shop, &["new", name, "--role", "admin"]).ok();
    }
    let audit = |args: &[&str]| shop.run(&[&["audit"], args].concat());
    let whole = audit(&[&["verify", "--json"], &DATABASE[..]].concat()).ok().json();
    assert_eq!((&whole["ok"], &whole["entries"]), (&true.into(), &3.into()));
    let shown = audit(&["show", "--limit", "2", "--config", "hub.toml"]).ok().stdout;
    assert!(
        shown.contains("token.new") && shown.contains("bert") && !shown.contains("root"),
        "{shown}"
    );
    audit(&[&["export", "--output", "log.jsonl"], &DATABASE[..]].concat()).ok();
    audit(&["verify", "--file", "log.jsonl"]).ok();
    let log = std::fs::read_to_string(shop.path("log.jsonl")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let check = |lines: &[&str], part: &str| {
        std::fs::write(shop.path("log.jsonl"), lines.join("\n")).unwrap();
        let verdict = audit(&["verify", "--file", "log.jsonl"]);
        assert!(
            verdict.code == 3 && verdict.stderr.contains(part),
            "{part}: {}",
            verdict.stderr
        );
    };
    let changed = lines[1].replace("anna", "mallory");
    check(&[lines[0], &changed, lines[2]], "entry 2 was changed");
    check(&[lines[0], lines[2]], "entry 2 was removed");
    check(&[lines[1], lines[2]], "entry 1 was removed");
    check(&[lines[0], lines[2], lines[1]], "entry 2 was moved");
    check(&[lines[0], lines[1], lines[1], lines[2]], "entry 2 was inserted");
    std::fs::write(shop.path("log.jsonl"), "nonsense").unwrap();
    let verdict = audit(&["verify", "--file", "log.jsonl"]);
    assert!(
        verdict.code == 1 && verdict.stderr.contains("line 1 is no entry"),
        "{}",
        verdict.stderr
    );
    let no_root = audit(&["verify", "--checkpoint", "c.cose", "--file", "log.jsonl"]);
    assert!(
        no_root.code == 2 && no_root.stderr.contains("--root"),
        "{}",
        no_root.stderr
    );
}

/// What somebody does to the database who has it in hand.
fn tamper(shop: &Shop, statements: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(shop.path("hub.db"));
        let mut database: SqliteConnection = options.connect().await.unwrap();
        raw_sql(statements).execute(&mut database).await.unwrap();
        sqlx::Connection::close(database).await.unwrap();
    });
}

#[test]
fn looking_makes_changes_and_mends_nothing() {
    let shop = shop();
    let look = |args: &[&str]| shop.run(&[args, &["--config", "hub.toml"]].concat());
    for args in [
        &["audit", "verify"][..],
        &["audit", "show"],
        &["audit", "export", "--output", "log.jsonl"],
        &["hub", "token", "ls"],
    ] {
        look(args).failed(1, "there is none at hub.db");
        assert!(
            !shop.path("hub.db").exists() && !shop.path("log.jsonl").exists(),
            "{args:?}"
        );
    }
    token(&shop, &["new", "root", "--role", "admin"]).ok();
    token(&shop, &["new", "anna", "--role", "admin"]).ok();
    tamper(&shop, "DROP TRIGGER audit_no_delete; DROP TRIGGER audit_no_update");
    for _ in 0..2 {
        let told = look(&["audit", "verify"]).failed(3, "somebody took audit_no_update, audit_no_delete away");
        assert!(
            !told.stderr.contains("broken"),
            "its entries are whole: {}",
            told.stderr
        );
    }
    look(&["audit", "show"]).ok();
    look(&["hub", "token", "ls"]).ok();
    tamper(&shop, "DELETE FROM audit WHERE seq = 2");
    let told = look(&["audit", "verify"]).failed(3, "entry 2 and all after it were cut off");
    assert!(told.stderr.contains("audit_no_delete"), "{}", told.stderr);
    tamper(&shop, "UPDATE audit_head SET seq = 0");
    let told = look(&["audit", "verify"]).failed(3, "audit_no_delete");
    assert!(
        !told.stderr.contains("broken"),
        "its count alone is believed in nothing: {}",
        told.stderr
    );
    tamper(
        &shop,
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)",
    );
    look(&["audit", "verify"]).failed(1, "an older hub wrote it");
}
