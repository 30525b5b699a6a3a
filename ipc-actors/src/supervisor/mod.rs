//! Supervisors: actors whose only work is to start, stop and restart other actors.
//!
//! A supervisor runs no code of the user's: factories, hooks and health checks run in the children's own turns, so it
//! answers while a child hangs. What takes time (a start, a stop, a pause before a restart) is a state of the child's
//! slot, and the end of it is a message.
//!
//! | To read about | File |
//! |---|---|
//! | what a user writes | `spec.rs` |
//! | how a child of each kind is made | `make.rs` |
//! | when a restart is one too many, and how long to pause before it | `window.rs` |
//! | what a child knows of its supervisor | `post.rs` |
//! | the slots | `children.rs` |
//! | what an event of a child means | `actor.rs` |
//! | starting in order, stopping in reverse order | `plan.rs` |
//! | stopping one child: ask, kill, give up | `stop.rs` |
//! | requests from outside | `admin.rs` (the types), `requests.rs` (what is done) |
//! | health checks | `checks.rs` |
//! | what is told to observers | `event.rs` |

mod actor;
mod admin;
mod checks;
mod children;
mod event;
mod make;
mod plan;
mod post;
mod requests;
mod spec;
mod stop;
mod window;

pub use admin::{AdminError, ChildInfo, ChildStatus, Counts, Request, SupervisorRef};
pub use event::{Observer, Supervision, SupervisionEvent};
pub(crate) use make::{Make, Surroundings, spawn_child};
pub(crate) use post::Parent;
pub(crate) use spec::Policy;
pub use spec::{
    AutoShutdown, Child, ChildKind, Ignore, RestartPolicy, ShutdownPolicy, SpecError, StartError,
    SupervisionStrategy, Supervisor,
};
pub use window::Backoff;
