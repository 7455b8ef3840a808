//! POSIX access control lists in the kernel's xattr form (version 2): reading, checking, and their ties to the
//! permission bits. The operations that make inodes, change modes and set xattrs call it. Knows no rows.

use crate::error::FsError;

/// The xattr of the list that controls access, and of the one that new entries of a directory inherit.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_LEN: usize = 8;
const UNDEFINED_ID: u32 = u32::MAX;
const PERM_ALL: u16 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    UserObj,
    User,
    GroupObj,
    Group,
    Mask,
    Other,
}

impl Tag {
    const CODES: [(u16, Tag); 6] = [
        (0x01, Tag::UserObj),
        (0x02, Tag::User),
        (0x04, Tag::GroupObj),
        (0x08, Tag::Group),
        (0x10, Tag::Mask),
        (0x20, Tag::Other),
    ];

    fn of(code: u16) -> Option<Tag> {
        Self::CODES
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, tag)| *tag)
    }

    fn code(self) -> u16 {
        Self::CODES[self as usize].0
    }

    fn is_named(self) -> bool {
        matches!(self, Tag::User | Tag::Group)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    perm: u16,
    id: u32,
}

/// A valid list: owner, named users, group, named groups, mask (with named entries), others, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acl {
    entries: Vec<Entry>,
}

impl Acl {
    /// `None` for a list without entries, which means "no list".
    pub fn parse(value: &[u8]) -> Result<Option<Acl>, FsError> {
        let (version, body) = value.split_first_chunk::<4>().ok_or(FsError::Invalid)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(FsError::NotSupported);
        }
        if !body.len().is_multiple_of(ENTRY_LEN) {
            return Err(FsError::Invalid);
        }
        let entries = body
            .chunks_exact(ENTRY_LEN)
            .map(parse_entry)
            .collect::<Result<Vec<Entry>, FsError>>()?;
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Acl { entries };
        match acl.is_valid() {
            true => Ok(Some(acl)),
            false => Err(FsError::Invalid),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            value.extend_from_slice(&entry.tag.code().to_le_bytes());
            value.extend_from_slice(&entry.perm.to_le_bytes());
            let id = if entry.tag.is_named() {
                entry.id
            } else {
                UNDEFINED_ID
            };
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    }

    /// The kernel's rule (`posix_acl_valid`).
    fn is_valid(&self) -> bool {
        let mut allowed = vec![Tag::UserObj];
        let mut needs_mask = false;
        for entry in &self.entries {
            if !allowed.contains(&entry.tag) || entry.perm & !PERM_ALL != 0 {
                return false;
            }
            if entry.tag.is_named() && entry.id == UNDEFINED_ID {
                return false;
            }
            needs_mask |= entry.tag.is_named();
            allowed = match entry.tag {
                Tag::UserObj | Tag::User => vec![Tag::User, Tag::GroupObj],
                Tag::GroupObj | Tag::Group if needs_mask => vec![Tag::Group, Tag::Mask],
                Tag::GroupObj | Tag::Group => vec![Tag::Group, Tag::Mask, Tag::Other],
                Tag::Mask => vec![Tag::Other],
                Tag::Other => Vec::new(),
            };
        }
        allowed.is_empty()
    }

    /// The permission bits that the list stands for, and whether they say all that it says.
    pub fn mode(&self) -> (u32, bool) {
        let mut mode = 0;
        let mut equivalent = true;
        for entry in &self.entries {
            let perm = u32::from(entry.perm);
            match entry.tag {
                Tag::UserObj => mode |= perm << 6,
                Tag::GroupObj => mode |= perm << 3,
                Tag::Other => mode |= perm,
                Tag::Mask => {
                    mode = mode & !0o070 | perm << 3;
                    equivalent = false;
                }
                Tag::User | Tag::Group => equivalent = false,
            }
        }
        (mode, equivalent)
    }

    /// `chmod`: the owner, others, and the mask (without one, the group) take the bits.
    pub fn set_mode(&mut self, mode: u32) {
        let group_class = self.group_class();
        for entry in &mut self.entries {
            let shift = match entry.tag {
                Tag::UserObj => 6,
                Tag::Other => 0,
                tag if tag == group_class => 3,
                _ => continue,
            };
            entry.perm = (mode >> shift & 7) as u16;
        }
    }

    /// A new inode inherits the list: the list and the wanted mode limit each other. The resulting mode.
    pub fn inherit(&mut self, mode: u32) -> u32 {
        let group_class = self.group_class();
        let mut result = mode & !0o777;
        for entry in &mut self.entries {
            let shift = match entry.tag {
                Tag::UserObj => 6,
                Tag::Other => 0,
                tag if tag == group_class => 3,
                _ => continue,
            };
            entry.perm &= (mode >> shift & 7) as u16;
            result |= u32::from(entry.perm) << shift;
        }
        result
    }

    /// The entry that the group bits of the mode show.
    fn group_class(&self) -> Tag {
        match self.entries.iter().any(|entry| entry.tag == Tag::Mask) {
            true => Tag::Mask,
            false => Tag::GroupObj,
        }
    }
}

fn parse_entry(bytes: &[u8]) -> Result<Entry, FsError> {
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    Ok(Entry {
        tag: Tag::of(half(0)).ok_or(FsError::Invalid)?,
        perm: half(2),
        id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    })
}
