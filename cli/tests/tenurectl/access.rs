//! Endpoints, certificates, users and passwords: from flags, environment or a file, and no secret where others can read it.

use tenure_sim::real::{Server, ServerOptions};

use crate::ctl::{Running, guardian_of, own, run, shared, start, tenurectl, until};

const PASSWORD: &str = "a-very-secret-password";

/// A server on which only root may do anything.
fn with_authentication() -> Server {
    let server = own();
    let etcdctl = |args: &[&str]| {
        let status = std::process::Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &server.endpoint()])
            .args(args)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.expect("etcdctl runs").success(), "{args:?}");
    };
    etcdctl(&["user", "add", &format!("root:{PASSWORD}")]);
    etcdctl(&["role", "add", "root"]);
    etcdctl(&["user", "grant-role", "root", "root"]);
    // As docs/operating.md says.
    etcdctl(&["user", "add", &format!("worker:{PASSWORD}")]);
    etcdctl(&["role", "add", "worker"]);
    etcdctl(&["role", "grant-permission", "worker", "readwrite", "access/role", "access/role0"]);
    etcdctl(&["user", "grant-role", "worker", "worker"]);
    etcdctl(&["auth", "enable"]);
    server
}

#[test]
fn user_and_password_come_from_environment_files_or_config_and_are_not_seen_in_ps() {
    if !crate::beside_etcdctl::etcdctl_is_there() {
        return;
    }
    let server = with_authentication();
    let folder = tempfile::tempdir().expect("a folder");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, format!("{PASSWORD}\n")).expect("written");
    let config = folder.path().join("tenure.toml");
    let text =
        format!("endpoints = [\"{}\"]\nuser = \"root\"\npassword = \"{PASSWORD}\"\n", server.endpoint());
    std::fs::write(&config, text).expect("written");

    let hold = ["lock", "access/user", "--", "sh", "-c", "echo $$; exec sleep 60"];
    let mut by_environment = tenurectl(hold);
    by_environment
        .env("TENURE_ENDPOINTS", server.endpoint())
        .env("TENURE_USER", "root")
        .env("TENURE_PASSWORD", PASSWORD);
    let mut by_file = tenurectl(["--endpoints", &server.endpoint(), "--user", "root", "--password-file"]);
    by_file.arg(&password_file).args(hold);
    let mut by_config = tenurectl(["--config"]);
    by_config.arg(&config).args(hold);
    for command in [by_environment, by_file, by_config] {
        let running = Running::of(command);
        let child = running.line().parse().expect("a pid");
        for pid in [running.pid(), guardian_of(&running), child] {
            let mut line = String::new();
            // Empty for a moment, while a program takes another's place.
            until("it has a command line", || {
                let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
                line = String::from_utf8_lossy(&bytes).replace('\0', " ");
                !line.is_empty()
            });
            assert!(!line.contains(PASSWORD), "{line}");
        }
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.end().code, Some(143));
    }

    for (name, code) in [("access/role", 4), ("access/other", 125)] {
        let mut worker = tenurectl(["lock", name, "--user", "worker", "--", "sh", "-c", "exit 4"]);
        worker.env("TENURE_ENDPOINTS", server.endpoint()).env("TENURE_PASSWORD", PASSWORD);
        let ended = Running::of(worker).end();
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.err.contains("from access/other to access/other0"), code == 125, "{}", ended.err);
    }

    let mut wrong = tenurectl(["lock", "access/user", "--user", "root", "--", "true"]);
    wrong.env("TENURE_ENDPOINTS", server.endpoint()).env("TENURE_PASSWORD", "guess");
    let ended = Running::of(wrong).end();
    assert_eq!(ended.code, Some(125), "{ended:?}");
    assert!(ended.err.contains("etcd refuses") && !ended.err.contains("guess"), "{}", ended.err);
    let ended = run(&server.endpoint(), ["lock", "access/user", "--", "true"]);
    assert_eq!(ended.code, Some(125), "without a user: {ended:?}");
}

#[test]
fn a_password_in_an_argument_is_refused_without_repeating_it() {
    let server = shared();
    let ended = run(&server.endpoint(), ["lock", "n", "--user", &format!("root:{PASSWORD}"), "--", "true"]);
    // clap's own words name no value; whatever is said must not hold it.
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("--password-file") && !ended.err.contains(PASSWORD), "{}", ended.err);
    let ended = run(&server.endpoint(), ["lock", "n", "--user", "root", "--", "true"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("no password for user \"root\""), "{}", ended.err);
}

#[test]
fn a_config_file_with_a_mistake_is_refused_with_its_line_and_without_its_secrets() {
    let server = shared();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tenure.toml");
    for (text, words) in [
        (format!("user = \"root\"\npasword = \"{PASSWORD}\"\n"), "line 2: unknown field `pasword`"),
        (format!("user = \"root\"\npassword = {PASSWORD}\n"), "line 2: "),
        ("endpoints = \"http://x\"\n".to_owned(), "line 1: invalid type"),
    ] {
        std::fs::write(&config, &text).expect("written");
        let ended =
            run(&server.endpoint(), ["lock", "n", "--config", &config.display().to_string(), "--", "true"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains(words) && !ended.err.contains(PASSWORD), "{text}: {}", ended.err);
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let server = shared();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tenure.toml");
    std::fs::write(&config, "endpoints = [\"http://127.0.0.1:1\"]\n").expect("written");
    let config = config.display().to_string();
    let ended = run(&server.endpoint(), ["lock", "access/order", "--config", &config, "--", "true"]);
    assert_eq!(ended.code, Some(0), "the environment over the file: {ended:?}");
    let args = ["lock", "access/order", "--endpoints", &server.endpoint(), "--", "true"];
    assert_eq!(run("http://127.0.0.1:1", args).code, Some(0), "the flag over the environment");
    let args = ["lock", "access/order", "--config", &config, "--connect-timeout", "0.3", "--", "true"];
    assert_eq!(Running::of(tenurectl(args)).end().code, Some(122), "the file, where nothing else is said");
}

#[test]
fn a_dead_endpoint_of_two_is_passed_by() {
    let server = shared();
    let endpoints = format!("http://127.0.0.1:1,{}", server.endpoint());
    assert_eq!(run(&endpoints, ["lock", "access/two", "--", "sh", "-c", "exit 4"]).code, Some(4));
}

#[test]
fn a_server_with_tls_is_reached_with_its_authority_and_a_certificate_of_ones_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let authority_cert = authority.self_signed(&authority_key).expect("a certificate");
    std::fs::write(path("ca.pem"), authority_cert.pem()).expect("written");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let cert = cert.signed_by(&key, &issuer).expect("signed");
        std::fs::write(path(&format!("{name}.pem")), cert.pem()).expect("written");
        std::fs::write(path(&format!("{name}-key.pem")), key.serialize_pem()).expect("written");
    }
    let args = [
        ("--cert-file", path("server.pem")),
        ("--key-file", path("server-key.pem")),
        ("--trusted-ca-file", path("ca.pem")),
    ];
    let mut args: Vec<String> = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    args.push("--client-cert-auth".to_owned());
    let options = ServerOptions { scheme: "https".to_owned(), args, ..ServerOptions::default() };
    let server = Server::start(&options).expect("etcd starts");

    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client-key.pem"));
    let args =
        ["lock", "access/tls", "--cacert", &ca, "--cert", &cert, "--key", &key, "--", "sh", "-c", "exit 5"];
    assert_eq!(run(&server.endpoint(), args).code, Some(5));
    let args = ["lock", "access/tls", "--cacert", &ca, "--connect-timeout", "0.5", "--", "true"];
    assert_eq!(run(&server.endpoint(), args).code, Some(122), "without a certificate");
    let args = ["lock", "access/tls", "--connect-timeout", "0.5", "--", "true"];
    let ended = start(&server.endpoint(), args).end();
    assert_eq!(ended.code, Some(122), "an authority that is not the system's");
    assert!(ended.err.contains("certificate"), "{}", ended.err);
}
