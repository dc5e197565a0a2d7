//! The least that users must be allowed to do: what `docs/PRIVILEGES.md` and `regrow doctor` say is enough.

mod ground;
mod least;

use mongodb::bson::{Bson, Document, RawBson, RawDocumentBuf, doc, rawdoc};
use mongodb::error::ErrorKind;
use mongodb::{Client, Database};
use serde_json::Value;

use crate::harness::Servers;

const PAGE: &str = include_str!("../../docs/PRIVILEGES.md");

/// Returns the commands for mongosh in `docs/PRIVILEGES.md`: its blocks of JavaScript.
fn documented() -> Vec<&'static str> {
    PAGE.split("```js\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// Makes the roles as the document says.
pub async fn make_documented_roles(client: &Client) {
    for block in documented().into_iter().filter(|block| block.contains("createRole(")) {
        run_command_text(client, block).await;
    }
}

#[test]
fn the_page_has_the_roles_that_the_doctor_prints() {
    for role in regrow::mongo::roles::ALL {
        let command = role.create_command();
        assert!(documented().iter().any(|block| block.contains(&command)), "docs/PRIVILEGES.md lacks\n{command}");
    }
}

/// Adds a user with a password that is nobody's secret.
pub async fn add_user(database: &Database, user: &str, rest: RawDocumentBuf) {
    let mut command = rawdoc! { "createUser": user, "pwd": "p" };
    for element in rest.iter_elements().map(Result::unwrap) {
        command.append(element.key(), RawBson::from(element.value().unwrap()));
    }
    database.run_raw_command(command).await.unwrap();
}

/// Returns the connection string of a user that [`add_user`] has added to `admin`.
pub fn uri_of(servers: &Servers, user: &str) -> String {
    format!("mongodb://{user}:p@{}/?replicaSet=rs0&authSource=admin", servers.hosts()[0].address())
}

/// Does what a person does who pastes a text with `db.getSiblingDB(…).createRole(…)` and `.grantRolesToUser(…)` into
/// mongosh: each command is read as it stands. A role that exists stays as it is.
pub async fn run_command_text(client: &Client, text: &str) {
    for (number, statement) in text.split("db.getSiblingDB(").skip(1).enumerate() {
        let (db, rest) = statement.split_once(").").unwrap();
        let database = client.database(&serde_json::from_str::<String>(db).unwrap());
        let (name, arguments) = rest.split_once('(').unwrap();
        let arguments = format!("[{}]", &arguments[..arguments.rfind(')').unwrap()]);
        let arguments: Vec<Value> =
            serde_json::from_str(&arguments).unwrap_or_else(|error| panic!("command {number}: {error}\n{arguments}"));
        match name {
            "createRole" => create_role(&database, &arguments[0]).await,
            "grantRolesToUser" => {
                let roles = Bson::try_from(arguments[1].clone()).unwrap();
                let command = doc! { "grantRolesToUser": arguments[0].as_str().unwrap(), "roles": roles };
                database.run_command(command).await.unwrap();
            }
            other => panic!("nobody has said what {other} does"),
        }
    }
}

/// Makes a role as mongosh does.
pub async fn create_role(database: &Database, role: &Value) {
    const EXISTS: i32 = 51_002;
    let mut command = doc! { "createRole": role["role"].as_str().unwrap() };
    let Bson::Document(rest) = Bson::try_from(role.clone()).unwrap() else { panic!("a role is an object") };
    command.extend(rest.into_iter().filter(|(key, _)| key != "role").collect::<Document>());
    match database.run_command(command).await {
        Err(error) if matches!(*error.kind, ErrorKind::Command(ref command) if command.code == EXISTS) => {}
        done => drop(done.unwrap()),
    }
}
