//! Answers on their way to the kernel: a recall waits until they have arrived. `vfs` notes them, in the thread that serves
//! the request; the kernel's door says when the thread has written its answer.

use super::Inode;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static UNDER_WAY: RefCell<Vec<Arc<Inode>>> = const { RefCell::new(Vec::new()) };
}

/// This thread is about to answer with what the kernel may keep of the inode, whose state counts it.
pub(crate) fn answering(inode: &Arc<Inode>) {
    UNDER_WAY.with_borrow_mut(|under_way| under_way.push(inode.clone()));
}

/// This thread's answers have been written.
pub(crate) fn answered() {
    let under_way = UNDER_WAY.with_borrow_mut(std::mem::take);
    for inode in under_way {
        let mut state = inode.state.lock();
        state.answering = state.answering.saturating_sub(1);
        if state.answering == 0 && state.recalling > 0 {
            drop(state);
            inode.changed.notify_all();
        }
    }
}
