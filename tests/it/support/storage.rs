//! Object storage for tests: a real server of S3 (moto), and a proxy before it that breaks what passes through.
//!
//! Not for judging. Invariant: the server ends with its owner, and with this process whatever ends that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Workshop, checkout};

/// The bucket that every server has.
pub const BUCKET: &str = "bucket";

/// Says its port, and ends when nobody holds its stdin any more.
const SERVE: &str = r#"
import logging, os, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.disable(logging.CRITICAL)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// A program that says its port and serves; gone with its owner.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts the Python `program` in `folder`, with the packages of `make setup-test`.
    fn start(program: &str, folder: &Path) -> Self {
        let packages = checkout().join(".runtime/moto");
        assert!(packages.join("moto").is_dir(), "no moto in {}: run `make setup-test`", packages.display());
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(python);
        command.args(["-c", program]).current_dir(folder).env("PYTHONPATH", packages).stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap_or_else(|_| panic!("the server said {line:?}")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server of S3, empty but for [`BUCKET`].
pub struct Storage(Server);

/// An answer of a server.
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Storage {
    pub fn start() -> Self {
        let storage = Self(Server::start(SERVE, checkout()));
        assert_eq!(storage.ask("PUT", "", &[], b"").status, 200);
        storage
    }

    /// Puts an object that anybody may read.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.put_with(key, &[], bytes);
    }

    /// The same with further headers.
    pub fn put_with(&self, key: &str, headers: &[(&str, &str)], bytes: &[u8]) {
        let headers = [&[("x-amz-acl", "public-read")], headers].concat();
        assert_eq!(self.ask("PUT", key, &headers, bytes).status, 200);
    }

    pub fn get(&self, key: &str) -> Vec<u8> {
        let answer = self.ask("GET", key, &[], b"");
        assert_eq!(answer.status, 200, "{key}");
        answer.body
    }

    pub fn delete(&self, key: &str) {
        assert_eq!(self.ask("DELETE", key, &[], b"").status, 204);
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        let text = String::from_utf8(self.ask("GET", "?list-type=2", &[], b"").body).unwrap();
        let keys = text.split("<Key>").skip(1);
        keys.map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }

    /// The endpoint without a proxy.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    fn ask(&self, method: &str, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let separator = if key.starts_with('?') { "" } else { "/" };
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        // Nobody checks it, but who gives none may read nothing.
        let signed = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let head = format!(
            "{method} /{BUCKET}{separator}{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n{signed}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        exchange(self.0.port, &[head.as_bytes(), body].concat(), method)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is passed on, and its answer back.
    None,
    /// It is not passed on, but answered so.
    Answer(u16, &'static str),
    /// It is passed on, and answered so.
    AnswerAfter(u16),
    /// So many bytes of the body come, and then the connection is lost.
    Cut(usize),
    /// So many bytes of the body come, and its head says that these are all.
    Shorten(usize),
    /// So many bytes of the body come, and then nothing.
    Stall(usize),
}

/// A request as the proxy sees it: `GET /bucket/key bytes=5-9`.
pub type Decide = Box<dyn FnMut(&str) -> Fault + Send>;

/// Stands before a server until the process ends.
pub struct Proxy {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    decide: Arc<Mutex<Decide>>,
}

impl Proxy {
    /// Before `storage`; `decide` says what becomes of each request.
    pub fn before(storage: &Storage, decide: impl FnMut(&str) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, decide) = (Arc::default(), Arc::new(Mutex::new(Box::new(decide) as Decide)));
        let proxy = Self { port, seen, decide };
        let (seen, decide, server) = (proxy.seen.clone(), proxy.decide.clone(), storage.0.port);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, decide) = (seen.clone(), decide.clone());
                thread::spawn(move || {
                    let mut client = client;
                    serve(&mut client, server, &seen, &decide);
                });
            }
        });
        proxy
    }

    /// From now on.
    pub fn decide(&self, decide: impl FnMut(&str) -> Fault + Send + 'static) {
        *self.decide.lock().unwrap() = Box::new(decide);
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests since this was last asked.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// One request and its answer; a client that asks again does so over a new connection.
fn serve(client: &mut TcpStream, server: u16, seen: &Mutex<Vec<String>>, decide: &Mutex<Decide>) {
    let Some((head, body)) = read_message(&mut BufReader::new(&mut *client)) else { return };
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let (method, rest) = first.split_once(' ').unwrap_or((first, ""));
    let path = rest.split(' ').next().unwrap_or_default();
    let range = header(&head, "range").map(|range| format!(" {range}")).unwrap_or_default();
    let request = format!("{method} {path}{range}");
    seen.lock().unwrap().push(request.clone());
    let fault = (decide.lock().unwrap())(&request);
    let kept: Vec<&str> = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
    let passed = format!("{first}\r\n{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"));
    let pass = || exchange(server, &[passed.as_bytes(), &body].concat(), method);
    let (status, text) = match fault {
        Fault::Answer(status, text) => (status, text),
        Fault::AnswerAfter(status) => {
            pass();
            (status, "")
        }
        fault => return hand_on(client, pass(), method, &fault),
    };
    let length = text.len();
    let head = format!("HTTP/1.1 {status} Fault\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(text.as_bytes()));
}

fn hand_on(client: &mut TcpStream, answer: Answer, method: &str, fault: &Fault) {
    let Answer { status, headers, body } = answer;
    let (sent, lies) = match *fault {
        Fault::Cut(most) | Fault::Stall(most) => (body.len().min(most), false),
        Fault::Shorten(most) if method != "HEAD" => (body.len().min(most), true),
        _ => (body.len(), false),
    };
    let mut head = format!("HTTP/1.1 {status} Passed\r\nConnection: close\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| name != "connection") {
        let value = if lies && name == "content-length" { sent.to_string() } else { value.clone() };
        head += &format!("{name}: {value}\r\n");
    }
    let _ = client.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| client.write_all(&body[..sent]));
    if matches!(fault, Fault::Stall(_)) {
        let _ = client.flush();
        // Until the other end is gone.
        let _ = client.set_read_timeout(Some(Duration::from_secs(120)));
        let _ = client.read(&mut [0]);
    }
}

/// Sends a request, and reads the answer to it.
fn exchange(port: u16, request: &[u8], method: &str) -> Answer {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    server.write_all(request).unwrap();
    let mut reader = BufReader::new(server);
    let head = read_head(&mut reader).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut body = Vec::new();
    if method != "HEAD" {
        reader.read_to_end(&mut body).unwrap();
    }
    Answer { status, headers, body }
}

fn read_message(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let head = read_head(reader)?;
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The lines before the empty one.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head.trim_end().to_owned())
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let pairs = head.split("\r\n").filter_map(|line| line.split_once(": "));
    pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

impl Workshop {
    /// The program with `arguments`, for which `endpoint` is where S3 is.
    pub fn program_at(&self, endpoint: &str, arguments: &str) -> Command {
        let mut command = self.program(arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1").env("NO_PROXY", "127.0.0.1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command
    }
}

/// Serves the working folder by HTTPS, under a certificate of an authority of its own: writes that to `ca.pem`, and says its port.
const SERVE_TLS: &str = r#"
import datetime, http.server, ipaddress, os, ssl, sys, threading
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
def certificate(name, key, issuer, by, *extensions):
    named = lambda name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number(), now - day, now + day)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
ca, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
open("ca.pem", "wb").write(certificate("ca", ca, "ca", ca, x509.BasicConstraints(ca=True, path_length=None)))
open("own.pem", "wb").write(own.private_bytes(*plain) + certificate("own", own, "ca", ca, here))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("own.pem")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// A server of pages by HTTPS; its owner is trusted by nobody but through `ca.pem`.
pub struct Pages(Server);

impl Pages {
    /// Serves the folder of `shop`.
    pub fn of(shop: &Workshop) -> Self {
        Self(Server::start(SERVE_TLS, &shop.path("")))
    }

    pub fn url(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/{name}", self.0.port)
    }
}
