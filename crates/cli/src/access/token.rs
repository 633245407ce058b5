//! `floorhand hub token`: named tokens, by which the hub knows who asks.

use super::{Opened, Place, failed};
use crate::fleet::client::encoded;
use crate::output::{Output, Tone, visible};
use crate::time;
use anyhow::Result;
use clap::Subcommand;
use floorhand_hub::Role;
use serde_json::{Value, json};

/// `floorhand hub token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, which is shown this once
    ///
    /// The first one has to be of the role admin, and closes a hub that was open to everybody on its machine. It is made
    /// where the hub is: floorhand hub token new NAME --role admin --config hub.toml
    New {
        /// Who has it, as the audit log shall name them; no other token had the name or will have it
        name: String,
        /// What it is good for; can be given more than once
        #[arg(long = "role", value_name = "ROLE", required = true, value_enum)]
        roles: Vec<Role>,
        /// For how long it holds; 0 for good
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        expires_days: u64,
        /// Where the hub is.
        #[command(flatten)]
        place: Place,
    },
    /// List the tokens, with those that hold no longer
    Ls {
        /// Where the hub is.
        #[command(flatten)]
        place: Place,
    },
    /// End a token, from the next request on
    Revoke {
        /// Its name
        name: String,
        /// Where the hub is.
        #[command(flatten)]
        place: Place,
    },
}

/// Runs a `token` command.
pub fn run(command: &TokenCommand, out: &Output) -> Result<()> {
    match command {
        TokenCommand::New {
            name,
            roles,
            expires_days,
            place,
        } => new(name, roles, *expires_days, place, out),
        TokenCommand::Ls { place } => list(place, out),
        TokenCommand::Revoke { name, place } => revoke(name, place, out),
    }
}

fn new(name: &str, roles: &[Role], expires_days: u64, place: &Place, out: &Output) -> Result<()> {
    let made = match place.open()? {
        Opened::Database(database) => database.new_token(name, roles, Some(expires_days)).map_err(failed)?,
        Opened::Hub(hub) => {
            let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            hub.post(
                "tokens",
                &json!({ "name": name, "roles": roles, "expires_days": expires_days }),
            )?
        }
    };
    out.show(&made, |out| {
        out.note("this is the only time it is shown; give it as --token or FLOORHAND_TOKEN:");
        out.line(made.get("token").and_then(Value::as_str).unwrap_or_default())
    })
}

fn list(place: &Place, out: &Output) -> Result<()> {
    let tokens = match place.open_to_read()? {
        Opened::Database(database) => database.tokens().map_err(failed)?,
        Opened::Hub(hub) => hub.get("tokens")?,
    };
    out.show(&tokens, |out| {
        let mut table = out.table(&["name", "roles", "state", "made", "by", "ends", "last used"]);
        for token in tokens.as_array().map_or(&[][..], Vec::as_slice) {
            let text = |key: &str| visible(token.get(key).and_then(Value::as_str).unwrap_or_default());
            let at = |key: &str| token.get(key).and_then(Value::as_u64);
            let roles = token
                .get("roles")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            let roles: Vec<String> = roles.iter().filter_map(|role| role.as_str().map(visible)).collect();
            let tone = if text("state") == "valid" {
                Tone::Good
            } else {
                Tone::Dim
            };
            table.add_row(vec![
                out.cell(text("name"), Tone::Plain),
                out.cell(roles.join(", "), Tone::Plain),
                out.cell(text("state"), tone),
                out.cell(at("created_ms").map_or_else(String::new, ago), Tone::Plain),
                out.cell(text("created_by"), Tone::Plain),
                out.cell(
                    at("expires_ms").map_or_else(|| "never".to_owned(), time::utc),
                    Tone::Plain,
                ),
                out.cell(at("last_used_ms").map_or_else(|| "never".to_owned(), ago), Tone::Plain),
            ]);
        }
        out.print(table)
    })
}

fn ago(time_ms: u64) -> String {
    time::ago(time_ms, time::now_ms())
}

fn revoke(name: &str, place: &Place, out: &Output) -> Result<()> {
    match place.open()? {
        Opened::Database(database) => database.revoke_token(name).map_err(failed)?,
        Opened::Hub(hub) => drop(hub.delete(&format!("tokens/{}", encoded(name)))?),
    }
    out.show(&json!({ "revoked": name }), |out| {
        out.line(&format!("token {name} holds no longer"))
    })
}
