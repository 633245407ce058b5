//! Who is let in, as whom, and how often; with a database and no HTTP.

use super::*;
use crate::database::NewToken;
use crate::database::tests::database;

const NOW_MS: u64 = 1_800_000_000_000;
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

async fn add(database: &Database, name: &str, roles: &str, expires_ms: u64) -> String {
    let token = tokens::draw().unwrap();
    let new = NewToken {
        name: name.to_owned(),
        hash: tokens::hash(&token),
        roles: roles.to_owned(),
        is_admin: roles == "admin",
        expires_ms,
    };
    assert_eq!(
        database.add_token(&new, NOW_MS).await.unwrap(),
        crate::database::Added::New
    );
    token
}

fn bearer(text: &str) -> Shown {
    Shown::Bearer(text.to_owned())
}

#[tokio::test]
async fn the_first_token_closes_the_door_for_good() {
    let (_dir, database) = database().await;
    let door = Door::new(None, None, true);
    let enter = async |shown: Shown| door.enter(&database, &shown, HOME, NOW_MS).await;
    assert_eq!(enter(Shown::Nothing).await.unwrap(), Actor::anybody());
    assert!(matches!(enter(bearer("made up")).await, Err(Denied::Wrong(_))));
    let elsewhere = Door::new(None, None, false);
    let nobody = elsewhere.enter(&database, &Shown::Nothing, HOME, NOW_MS).await;
    assert!(
        matches!(nobody, Err(Denied::Missing)),
        "others can reach it: it was never open"
    );
    let token = add(&database, "root", "admin", 0).await;
    assert!(matches!(enter(Shown::Nothing).await, Err(Denied::Missing)));
    assert_eq!(enter(bearer(&token)).await.unwrap().name, "root");
    database.revoke_token("root", NOW_MS).await.unwrap();
    assert!(matches!(enter(bearer(&token)).await, Err(Denied::Wrong(why)) if why.contains("revoked")));
    assert!(matches!(enter(Shown::Nothing).await, Err(Denied::Missing)));
    let restarted = Door::new(None, None, true);
    assert!(!restarted.is_open(&database).await.unwrap());
}

#[tokio::test]
async fn what_a_browser_sends_is_for_looking() {
    let (_dir, database) = database().await;
    let door = Door::new(None, None, true);
    let token = add(&database, "root", "admin", NOW_MS + 1000).await;
    let look = Roles::of(&[Role::Viewer]);
    let (cookie, good_ms) = door.log_in(&database, &token, HOME, NOW_MS).await.unwrap();
    assert_eq!(good_ms, SESSION_MS);
    let enter = async |shown: Shown, now_ms: u64| door.enter(&database, &shown, HOME, now_ms).await;
    let by_cookie = enter(Shown::Cookie(cookie.clone()), NOW_MS).await.unwrap();
    let by_password = enter(Shown::Password(token.clone()), NOW_MS).await.unwrap();
    assert_eq!((by_cookie.roles, by_password.roles), (look, look));
    assert_eq!(
        enter(bearer(&token), NOW_MS).await.unwrap().roles,
        Roles::of(&[Role::Admin])
    );
    assert!(
        matches!(enter(bearer(&cookie), NOW_MS).await, Err(Denied::Wrong(_))),
        "a cookie is no token"
    );
    let later = NOW_MS + 1000;
    assert!(matches!(enter(bearer(&token), later).await, Err(Denied::Wrong(why)) if why.contains("expired")));
    assert!(matches!(
        enter(Shown::Cookie(cookie), later).await,
        Err(Denied::Missing)
    ));
}

#[tokio::test]
async fn guesses_are_slowed_and_written_down_in_bounds() {
    let (_dir, database) = database().await;
    let token = "0123456789abcdef0123456789abcdef";
    let door = Door::new(Some(token), None, true);
    let enter = async |text: &str, from: IpAddr| door.enter(&database, &bearer(text), from, NOW_MS).await;
    let far: IpAddr = "2001:db8::1".parse().unwrap();
    assert!(enter(token, far).await.is_ok());
    for guess in 0..10 {
        assert!(matches!(enter(&guess.to_string(), far).await, Err(Denied::Wrong(_))));
    }
    assert!(matches!(enter("guess", far).await, Err(Denied::TooOften(5000))));
    let neighbour = "2001:db8::ffff:1".parse().unwrap();
    assert!(matches!(enter("guess", neighbour).await, Err(Denied::TooOften(_))));
    assert!(
        enter(token, far).await.is_ok(),
        "who was let in before isn't locked out by others"
    );
    assert!(matches!(enter("guess", HOME).await, Err(Denied::Wrong(_))));
    let told = database.audit_after(0, 100).await.unwrap();
    assert_eq!(told.len(), TOLD_EACH_MINUTE as usize, "the eleventh is left out");
    assert!(
        told.iter()
            .all(|entry| entry.action == "login.refused" && entry.subject == "2001:db8::")
    );
    let next = door.enter(&database, &bearer("guess"), HOME, NOW_MS + 60_000).await;
    assert!(matches!(next, Err(Denied::Wrong(_))));
    let last = database.audit_after(10, 100).await.unwrap().remove(0);
    assert!(last.details.contains("\"left_out_before\":1"), "{}", last.details);
}

#[tokio::test]
async fn a_credential_that_holds_no_longer_is_a_guess_like_any_other() {
    let (_dir, database) = database().await;
    let door = Door::new(None, None, true);
    let root = add(&database, "root", "admin", 0).await;
    let revoked = add(&database, "gone", "viewer", 0).await;
    let expired = add(&database, "old", "viewer", NOW_MS + 1000).await;
    let enter = async |shown: Shown, now_ms: u64| door.enter(&database, &shown, HOME, now_ms).await;
    let (cookie, _) = door.log_in(&database, &revoked, HOME, NOW_MS).await.unwrap();
    for shown in [
        bearer(&root),
        bearer(&revoked),
        bearer(&expired),
        Shown::Cookie(cookie.clone()),
    ] {
        assert!(enter(shown, NOW_MS).await.is_ok());
    }
    database.revoke_token("gone", NOW_MS).await.unwrap();
    let later = NOW_MS + 1000;
    for ended in [&revoked, &expired] {
        for _ in 0..5 {
            assert!(matches!(enter(bearer(ended), later).await, Err(Denied::Wrong(_))));
        }
    }
    for ended in [&revoked, &expired] {
        assert!(matches!(enter(bearer(ended), later).await, Err(Denied::TooOften(_))));
    }
    assert!(enter(bearer(&root), later).await.is_ok());
    let is_over = enter(Shown::Cookie(cookie.clone()), later).await;
    assert!(matches!(is_over, Err(Denied::Missing)), "it was right until now");
    let again = enter(Shown::Cookie(cookie), later).await;
    assert!(matches!(again, Err(Denied::TooOften(_))));
    let all = door.proven.lock().unwrap();
    assert_eq!((all.known.len(), all.order.len()), (1, 1), "the token of root alone");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_lets_in_who_has_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let url = crate::testing::database_url(dir.path()).await;
    let database = Database::open(&url).await.unwrap();
    let token = add(&database, "root", "admin", 0).await;
    let door = Door::new(None, None, true);
    let (cookie, _) = door.log_in(&database, &token, HOME, NOW_MS).await.unwrap();
    database.close().await;
    let full = Database::open_existing(&url).await.unwrap();
    let later = NOW_MS + 120_000;
    for shown in [bearer(&token), Shown::Password(token.clone()), Shown::Cookie(cookie)] {
        assert_eq!(door.enter(&full, &shown, HOME, later).await.unwrap().name, "root");
    }
    assert!(
        full.note_use(&full.tokens().await.unwrap()[0], later).await.is_err(),
        "it does take none"
    );
}

#[tokio::test]
async fn one_identity_has_its_share() {
    let (_dir, database) = database().await;
    let door = Door::new(None, None, true);
    for _ in 0..1000 {
        assert!(door.enter(&database, &Shown::Nothing, HOME, NOW_MS).await.is_ok());
    }
    let refused = door.enter(&database, &Shown::Nothing, HOME, NOW_MS).await;
    assert!(matches!(refused, Err(Denied::TooOften(10))));
    assert!(door.enter(&database, &Shown::Nothing, HOME, NOW_MS + 10).await.is_ok());
}
