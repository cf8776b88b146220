//! The host's end of the channel for tests: the real agent as a child, a socket pair in place of vsock.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bottle_protocol::{
    Decoder, DeviceName, ExitStatus, Hostname, OutputStream, ProcessId, SecretBytes, SecretEnv, Setup, Start,
    StartStage, ToAgent, ToHost, WindowSize,
};

pub struct Host {
    socket: UnixStream,
    decoder: Decoder<ToHost>,
    agent: Child,
}

/// What a command left behind.
#[derive(Debug, Default)]
pub struct Outcome {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<ExitStatus>,
}

impl Host {
    /// An agent that has said hello and was set up.
    pub fn new() -> Self {
        let mut host = Self::unspoken();
        assert!(matches!(host.receive(), ToHost::Hello(_)));
        let hostname = Hostname::new("bottle").unwrap();
        host.send(&ToAgent::Setup(Setup {
            hostname,
            root: DeviceName::new("vda").unwrap(),
            scratch: None,
            network: None,
        }));
        assert_eq!(host.receive(), ToHost::Ready);
        host
    }

    /// An agent that has just been started.
    pub fn unspoken() -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        // Not an assertion: a test that hangs says which, instead of holding up everything.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let stdin = Stdio::from(std::os::fd::OwnedFd::from(theirs));
        let agent = Command::new(env!("CARGO_BIN_EXE_bottle-agent"))
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { socket, decoder: Decoder::new(), agent }
    }

    pub fn send(&mut self, message: &ToAgent) {
        let mut frame = SecretBytes::new();
        message.encode(&mut frame).unwrap();
        self.send_raw(frame.expose());
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub fn socket(&self) -> UnixStream {
        self.socket.try_clone().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.agent.id()
    }

    /// The next frame.
    pub fn receive(&mut self) -> ToHost {
        self.try_receive().expect("the agent closed the connection")
    }

    /// The next frame; `None` if the agent has hung up.
    pub fn try_receive(&mut self) -> Option<ToHost> {
        loop {
            let bytes = match self.socket.read(self.decoder.space()) {
                Ok(0) => return None,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            };
            if let Some(message) = self.decoder.advance(bytes).unwrap() {
                return Some(message);
            }
        }
    }

    /// Starts a command that must start.
    pub fn start(&mut self, start: Start) -> u32 {
        let variables = u32::try_from(start.env.len()).unwrap();
        self.send(&ToAgent::Start(start));
        match self.answer(variables) {
            ToHost::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// What follows the acknowledgement of so many variables.
    pub fn answer(&mut self, variables: u32) -> ToHost {
        match self.receive() {
            ToHost::EnvAcknowledged { count, .. } => assert_eq!(count, variables),
            other => panic!("{other:?}"),
        }
        self.receive()
    }

    /// Starts a command that must not start.
    pub fn refused(&mut self, start: Start) -> (StartStage, String) {
        let variables = u32::try_from(start.env.len()).unwrap();
        self.send(&ToAgent::Start(start));
        match self.answer(variables) {
            ToHost::StartFailed { stage, detail, .. } => (stage, detail),
            other => panic!("{other:?}"),
        }
    }

    /// Takes everything to the end of the process, giving credit at once.
    pub fn finish(&mut self, process: ProcessId) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            match self.receive() {
                ToHost::Stdout { bytes, .. } => {
                    outcome.stdout.extend_from_slice(&bytes);
                    self.credit(process, OutputStream::Stdout, bytes.len());
                }
                ToHost::Stderr { bytes, .. } => {
                    outcome.stderr.extend_from_slice(&bytes);
                    self.credit(process, OutputStream::Stderr, bytes.len());
                }
                ToHost::Exited { status, .. } => {
                    outcome.exit = Some(status);
                    return outcome;
                }
                ToHost::Eof { .. } | ToHost::Credit { .. } => (),
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn credit(&mut self, process: ProcessId, stream: OutputStream, bytes: usize) {
        self.send(&ToAgent::Credit { process, stream, bytes: u32::try_from(bytes).unwrap() });
    }

    /// What the agent says on its way out, after it has hung up or was told to end.
    pub fn last_words(mut self) -> String {
        let mut words = String::new();
        self.agent.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        words
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// A command of these words as the current user, without a terminal.
pub fn command(words: &[&str]) -> Start {
    let mut env = SecretEnv::new();
    env.push(b"PATH", b"/usr/bin:/bin").unwrap();
    Start {
        process: ProcessId::FIRST,
        argv: words.iter().map(|word| CString::new(*word).unwrap()).collect(),
        env,
        cwd: c"/".to_owned(),
        create_cwd: false,
        user: CString::new(format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid())).unwrap(),
        tty: None,
        stdin: false,
    }
}

/// The same in a terminal of 24 rows and 80 columns.
pub fn in_terminal(words: &[&str]) -> Start {
    Start { tty: Some(WindowSize { rows: 24, cols: 80 }), stdin: true, ..command(words) }
}
