//! Numbers of the ioctls that a DFS mount understands. The kernel's door answers them, the commands send them.

/// `_IO('D', 1)`: make everything that this mount was given durable, as `syncfs` does.
pub const DFS_IOC_SYNC: u32 = ((b'D' as u32) << 8) | 1;
