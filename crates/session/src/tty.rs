//! Terminals: raw mode that is restored on drop, window size, and the modes of one terminal as text for
//! another.

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, Winsize,
    tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Raw mode of a terminal; dropping it restores the previous modes.
#[derive(Debug)]
pub struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// Switches the terminal to raw mode.
    ///
    /// # Errors
    /// The error of the system call; the terminal is then unchanged.
    pub fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// The size of a terminal as `rows:columns:width:height`, the last two in pixels.
///
/// # Errors
/// The error of the system call.
pub fn size(terminal: BorrowedFd<'_>) -> io::Result<String> {
    let size = tcgetwinsize(terminal)?;
    Ok(format!("{}:{}:{}:{}", size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel))
}

/// Sets the size of `to` to that of `from`; its foreground processes get SIGWINCH if the size changes.
///
/// # Errors
/// The error of the system call.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(tcsetwinsize(to, tcgetwinsize(from)?)?)
}

/// The modes of a terminal as text: four numbers of flags, then the special characters.
///
/// # Errors
/// The error of the system call.
pub fn modes(terminal: BorrowedFd<'_>) -> io::Result<String> {
    let modes = tcgetattr(terminal)?;
    let mut text = [
        modes.input_modes.bits(),
        modes.output_modes.bits(),
        modes.control_modes.bits(),
        modes.local_modes.bits(),
    ]
    .map(|bits| bits.to_string())
    .join(":");
    for index in SPECIAL {
        text.push(':');
        text.push_str(&modes.special_codes[index].to_string());
    }
    Ok(text)
}

/// Opens a new terminal, master and slave, with this size and these modes. Invalid text leaves the
/// kernel's defaults.
///
/// # Errors
/// The error of the system call.
pub fn open(size: &str, modes: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    if let Some(size) = parse_size(size) {
        tcsetwinsize(&slave, size)?;
    }
    let mut termios = tcgetattr(&slave)?;
    if set_modes(&mut termios, modes).is_some() {
        tcsetattr(&slave, OptionalActions::Now, &termios)?;
    }
    Ok((master, slave))
}

/// The path of a terminal, like `/dev/pts/0`.
///
/// # Errors
/// The error of the system call.
pub fn name(slave: &OwnedFd) -> io::Result<Vec<u8>> {
    Ok(rustix::termios::ttyname(slave.as_fd(), Vec::new())?.into_bytes())
}

fn parse_size(text: &str) -> Option<Winsize> {
    let mut numbers = text.split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Winsize { ws_row: next()?, ws_col: next()?, ws_xpixel: next()?, ws_ypixel: next()? })
}

fn set_modes(termios: &mut Termios, text: &str) -> Option<()> {
    let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [input, output, control, local, special @ ..] = &numbers[..] else {
        return None;
    };
    termios.input_modes = InputModes::from_bits_retain(*input);
    termios.output_modes = OutputModes::from_bits_retain(*output);
    termios.control_modes = ControlModes::from_bits_retain(*control);
    termios.local_modes = LocalModes::from_bits_retain(*local);
    for (index, code) in SPECIAL.into_iter().zip(special) {
        termios.special_codes[index] = u8::try_from(*code).ok()?;
    }
    Some(())
}

/// The special characters in the text, in this order (termios(3)).
const SPECIAL: [SpecialCodeIndex; 16] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
];
