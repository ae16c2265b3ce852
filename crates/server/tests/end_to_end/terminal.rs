//! A terminal of a test's own.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// What is shown on a terminal.
pub struct Terminal {
    shown: Arc<Mutex<Vec<u8>>>,
    /// Without anybody at the other end, nothing can be read.
    _far_end: File,
}

impl Terminal {
    /// A terminal that a command has for its standard error.
    pub fn of(command: &mut Command) -> Self {
        let near_end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&near_end).unwrap();
        unlockpt(&near_end).unwrap();
        let size = Winsize { ws_row: 25, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&near_end, size).unwrap();
        let name = ptsname(&near_end, Vec::new()).unwrap();
        let far_end = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        command.env("TERM", "xterm").stderr(Stdio::from(far_end.try_clone().unwrap()));
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&shown);
        let mut near_end = File::from(near_end);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = near_end.read(&mut bytes) {
                shared.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { shown, _far_end: far_end }
    }

    /// All that was shown so far, what was wiped since included.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }
}
