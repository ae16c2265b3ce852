//! TLS to PostgreSQL: what each `sslmode` asks for, of a server that lets nobody in without it.

use crate::client::Client;
use crate::fixture::Fixture;
use crate::process::{Finished, Server};
use crate::session::runtime;
use callscope_testkit::{Postgres, ServerOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;

const USER: &str = "voice";
const PASSWORD: &str = "correct-horse-battery";
const DATABASE: &str = "calls";
/// Nobody comes in from outside without TLS. The tests themselves come through the socket.
const ONLY_TLS: &str = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

on_postgres!(
    what_is_sent_is_encrypted_with_every_mode_that_says_so,
    without_tls_the_server_lets_nobody_in,
    the_server_must_be_the_one_that_is_named,
    a_server_without_tls_is_used_only_where_that_may_be,
    what_cannot_be_asked_for_is_refused_by_name,
);

fn what_is_sent_is_encrypted_with_every_mode_that_says_so() {
    let place = Place::new();
    let root = place.root.display().to_string();
    for (host, query) in [
        ("localhost", String::new()),
        ("localhost", "?sslmode=prefer".to_owned()),
        ("localhost", "?sslmode=require".to_owned()),
        ("127.0.0.1", "?sslmode=require".to_owned()),
        ("localhost", format!("?sslmode=verify-full&sslrootcert={root}")),
        ("127.0.0.1", format!("?sslrootcert={root}&sslmode=verify-full&connect_timeout=5")),
        ("localhost", format!("?sslmode=verify-full&sslrootcert={}", root.replace('/', "%2F"))),
    ] {
        let fixture = place.fixture(host, &query);
        assert_eq!(place.encryption_of(&fixture.serve(&[])), "true TLSv1.3", "{host} {query}");
    }
    place.set("ssl_max_protocol_version", "TLSv1.2");
    for query in ["?sslmode=require".to_owned(), format!("?sslmode=verify-full&sslrootcert={root}")] {
        let fixture = place.fixture("localhost", &query);
        assert_eq!(place.encryption_of(&fixture.serve(&[])), "true TLSv1.2", "{query}");
    }
    let fixture = place.fixture("localhost", &format!("?sslmode=verify-full&sslrootcert={root}"));
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[]);
    assert_works(&server.client(&key));
    fixture.assert_rollups_are_equal();
}

fn without_tls_the_server_lets_nobody_in() {
    let place = Place::new();
    let complaint = refused(&place.fixture("localhost", "?sslmode=disable"));
    assert!(complaint.contains("no pg_hba.conf entry") && complaint.contains("no encryption"), "{complaint}");
}

fn the_server_must_be_the_one_that_is_named() {
    let place = Place::new();
    let (root, other) = (place.root.display().to_string(), place.folder.path().join("other.pem"));
    std::fs::write(&other, authority("Another authority").pem()).unwrap();
    let other = other.display();
    let trusting = |root: &str| format!("?sslmode=verify-full&sslrootcert={root}");

    let complaint = refused(&place.fixture("localhost", &trusting(&other.to_string())));
    assert!(complaint.contains("invalid peer certificate"), "{complaint}");
    let complaint = refused(&place.fixture("elsewhere.example", &(trusting(&root) + "&hostaddr=127.0.0.1")));
    assert!(complaint.contains("elsewhere.example") && complaint.contains("localhost"), "{complaint}");
    // The authorities of the machine do not know this one, or there are none.
    let complaint = refused(&place.fixture("localhost", "?sslmode=verify-full"));
    let is_clear = complaint.contains("invalid peer certificate") || complaint.contains("no trusted certificates");
    assert!(is_clear, "{complaint}");
    // Whoever does not ask is told nothing.
    place.fixture("elsewhere.example", "?sslmode=require&hostaddr=127.0.0.1").serve(&[]);
}

fn a_server_without_tls_is_used_only_where_that_may_be() {
    let place = Place::with(ServerOptions { listens: true, ..ServerOptions::default() });
    for query in ["", "?sslmode=prefer", "?sslmode=disable"] {
        let fixture = place.fixture("localhost", query);
        assert_eq!(place.encryption_of(&fixture.serve(&[])), "false ", "{query}");
    }
    for query in ["?sslmode=require", &format!("?sslmode=verify-full&sslrootcert={}", place.root.display())] {
        let complaint = refused(&place.fixture("localhost", query));
        assert!(complaint.contains("server does not support TLS"), "{query}: {complaint}");
    }
}

fn what_cannot_be_asked_for_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let [nowhere, empty, broken] = [
        folder.path().join("nowhere.pem").display().to_string(),
        file("empty.pem", "# nothing\n"),
        file("broken.pem", "-----BEGIN CERTIFICATE-----\nnonsense!\n-----END CERTIFICATE-----\n"),
    ];
    for (query, words) in [
        ("sslmode=verify-ca", &["sslmode=verify-ca", "verify-full"][..]),
        ("sslmode=allow", &["sslmode=allow", "prefer"]),
        ("sslmode=very", &["sslmode=very", "disable, prefer, require or verify-full"]),
        ("sslmode=", &["sslmode= "]),
        (&format!("sslmode=verify-full&sslrootcert={nowhere}"), &[&nowhere, "No such file"]),
        (&format!("sslmode=verify-full&sslrootcert={empty}"), &[&empty, "cannot be read", "none"]),
        (&format!("sslmode=verify-full&sslrootcert={broken}"), &[&broken, "cannot be read"]),
    ] {
        // Nobody listens there: the URL alone is refused.
        let fixture = Fixture::at(format!("postgres://{USER}:{PASSWORD}@127.0.0.1:1/{DATABASE}?{query}"));
        let complaint = refused(&fixture);
        for word in words.iter().chain(&["database.url"]) {
            assert!(complaint.contains(word), "{query}: {word}: {complaint}");
        }
    }
}

/// A PostgreSQL server with a database, and the certificate of the authority that its own is from.
struct Place {
    postgres: Postgres,
    folder: TempDir,
    root: PathBuf,
}

impl Place {
    /// A server that takes only TLS.
    fn new() -> Self {
        Self::with(
            ServerOptions {
                listens: true,
                files: vec![("pg_hba.conf".to_owned(), ONLY_TLS.to_owned())],
                ..ServerOptions::default()
            }
            .with("ssl", "on"),
        )
    }

    fn with(mut options: ServerOptions) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("root.pem");
        let authority = authority("An authority of these tests");
        std::fs::write(&root, authority.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        options.files.extend(
            [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())]
                .map(|(name, contents)| (name.to_owned(), contents)),
        );
        let postgres = Postgres::start(&options).unwrap();
        runtime().block_on(async {
            postgres.execute("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")).await;
            postgres.execute("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {USER}")).await;
        });
        Self { postgres, folder, root }
    }

    /// The database, by the name of its host and with parameters.
    fn fixture(&self, host: &str, query: &str) -> Fixture {
        let port = self.postgres.address().as_ref().map(SocketAddr::port).unwrap();
        Fixture::at(format!("postgres://{USER}:{PASSWORD}@{host}:{port}/{DATABASE}{query}"))
    }

    /// Whether a server's connections are encrypted, and how.
    fn encryption_of(&self, server: &Server) -> String {
        assert_eq!(server.stranger().get("/health/ready").status, 200);
        let sessions = "SELECT DISTINCT concat(s.ssl::text, ' ', s.version)
                        FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                        WHERE a.application_name = 'callscope'";
        runtime().block_on(self.postgres.query(DATABASE, sessions)).join(", ")
    }

    fn set(&self, name: &str, value: &str) {
        runtime().block_on(async {
            self.postgres.execute("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'")).await;
            self.postgres.execute("postgres", "SELECT pg_reload_conf()").await;
        });
    }
}

/// Whoever signs certificates.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What `serve` complains of that ends at once. It shows no password.
fn refused(fixture: &Fixture) -> String {
    let finished = fixture.run(&["serve"]);
    finished.assert_says_nothing_twice();
    let Finished { code, stdout, stderr } = finished;
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(!stderr.contains(PASSWORD), "{stderr}");
    stderr
}

fn assert_works(client: &Client) {
    let record = json!({"call_id": "31c02e4f-12e0-4af0-869b-aab222503a09", "status": "completed",
                        "started_at": "2025-06-01T10:00:00Z", "ended_at": "2025-06-01T10:01:00Z"});
    assert_eq!(client.put(&record).status, 201);
    let window = "started_after=2025-06-01T00:00:00Z&started_before=2025-06-02T00:00:00Z";
    assert_eq!(client.ask(&format!("summary?{window}"))["total_calls"], 1);
}
