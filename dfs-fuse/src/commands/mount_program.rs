//! This executable under the name `mount.fuse.dfs` or `mount.dfs`, as mount(8) runs it:
//! `mount.fuse.dfs SOURCE DIR [-sfnv] [-o OPTIONS] [-t TYPE] [-N NAMESPACE]`; and as `umount.fuse.dfs DIR [-flnrv]`, with
//! which umount(8) returns only when what was written is durable. Called by `main`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use super::Failure;
use super::mount::Mount;
use super::options::Options;
use super::umount::Umount;

/// mount(8)'s exit codes: incorrect invocation, mount failure.
const USAGE: u8 = 1;
const FAILED: u8 = 32;

pub fn run(args: &[OsString]) -> ExitCode {
    let asked = match parse(args) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("mount.fuse.dfs: {problem}\nusage: mount.fuse.dfs SOURCE DIR [-sfnv] [-o OPTIONS]");
            return ExitCode::from(USAGE);
        }
    };
    super::finish("mount.fuse.dfs", mount(asked), FAILED)
}

/// `umount.fuse.dfs`.
pub fn run_umount(args: &[OsString]) -> ExitCode {
    super::finish(
        "umount.fuse.dfs",
        parse_umount(args).map_err(Failure::from).and_then(Umount::run),
        FAILED,
    )
}

fn parse_umount(args: &[OsString]) -> Result<Umount, String> {
    let (mut place, mut lazy, mut force) = (None, false, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"-t" | b"-N" => drop(args.next().ok_or("-t and -N need a value")?),
            [b'-', letters @ ..] if !letters.is_empty() => {
                lazy |= letters.contains(&b'l');
                force |= letters.contains(&b'f');
            }
            _ => place = Some(arg),
        }
    }
    let mountpoint = place.ok_or("a directory is needed")?.into();
    Ok(Umount {
        mountpoint,
        lazy: lazy && !force,
        force,
    })
}

fn mount(asked: Asked) -> Result<(), Failure> {
    if asked.fake {
        Options::parse(&asked.options.join(","), asked.sloppy)?;
        return Ok(());
    }
    if asked.verbose {
        println!(
            "mount.fuse.dfs: {} on {}",
            asked.source,
            asked.directory.display()
        );
    }
    let mount = Mount {
        source: asked.source,
        mountpoint: asked.directory.into(),
        options: asked.options,
        foreground: false,
        log: None,
        ready_fd: None,
        sloppy: asked.sloppy,
    };
    mount.run()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    source: String,
    directory: OsString,
    options: Vec<String>,
    sloppy: bool,
    fake: bool,
    verbose: bool,
}

fn parse(args: &[OsString]) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut places = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"-o" => asked.options.push(text(args.next().ok_or("-o needs options")?)?),
            b"-t" | b"-N" => drop(args.next().ok_or("-t and -N need a value")?),
            [b'-', letters @ ..] if !letters.is_empty() => flags(&mut asked, letters)?,
            _ => places.push(arg),
        }
    }
    let [source, directory] = places[..] else {
        return Err("a source and a directory are needed".into());
    };
    asked.source = text(source)?;
    asked.directory = directory.clone();
    Ok(asked)
}

fn flags(asked: &mut Asked, letters: &[u8]) -> Result<(), String> {
    for letter in letters {
        match letter {
            b's' => asked.sloppy = true,
            b'f' => asked.fake = true,
            b'v' => asked.verbose = true,
            // There is no mtab to be left alone.
            b'n' => {}
            b'r' => asked.options.push("ro".into()),
            b'w' => asked.options.push("rw".into()),
            other => return Err(format!("unknown flag -{}", char::from(*other))),
        }
    }
    Ok(())
}

fn text(arg: &OsStr) -> Result<String, String> {
    arg.to_str()
        .map(String::from)
        .ok_or_else(|| format!("{arg:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_mount_8_passes_is_understood() {
        let asked =
            parsed("dfs://localhost/default /mnt/x -sv -n -o ro,_netdev -o noatime -t fuse.dfs").unwrap();
        let expected = Asked {
            source: "dfs://localhost/default".into(),
            directory: "/mnt/x".into(),
            options: vec!["ro,_netdev".into(), "noatime".into()],
            sloppy: true,
            fake: false,
            verbose: true,
        };
        assert_eq!(asked, expected);
        assert!(parsed("a b -f").unwrap().fake);
        assert_eq!(parsed("a b -r").unwrap().options, ["ro"]);
    }

    #[test]
    fn what_umount_8_passes_is_understood() {
        let parsed = |line: &str| parse_umount(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let asked = parsed("/mnt/x -n -v -t fuse.dfs").unwrap();
        assert!(asked.mountpoint == std::path::Path::new("/mnt/x") && !asked.lazy && !asked.force);
        assert!(parsed("/mnt/x -l").unwrap().lazy);
        assert!(parsed("/mnt/x -lf").is_ok_and(|asked| asked.force && !asked.lazy));
        assert!(parsed("-v").is_err());
    }

    #[test]
    fn what_it_would_never_pass_is_refused() {
        assert!(parsed("only-one").is_err());
        assert!(parsed("a b c").is_err());
        assert!(parsed("a b -o").is_err());
        assert!(parsed("a b -x").unwrap_err().contains("-x"));
    }
}
