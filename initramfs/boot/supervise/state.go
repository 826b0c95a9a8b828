package supervise

import "slices"

// State is what a supervised service is doing.
//
//	        start                ready
//	Idle ----------> Starting ----------> Ready
//	                  ^    |               |
//	       back-off   |    |    ended      |
//	       is over    |    v               v
//	                 Waiting <-------------+
//
// and from each of them to Stopped, which is final. In particular a service is
// never Ready without having been Starting since its process began (a late
// "ready" of a process that has ended is ignored), and never goes from Stopped
// to Starting: who stops services does so because the node goes down.
type State int

// The states.
const (
	Idle State = iota
	Starting
	Ready
	Waiting
	Stopped
)

func (s State) String() string {
	return [...]string{"idle", "starting", "ready", "waiting", "stopped"}[s]
}

var transitions = map[State][]State{
	Idle:     {Starting, Stopped},
	Starting: {Ready, Waiting, Stopped},
	Ready:    {Waiting, Stopped},
	Waiting:  {Starting, Stopped},
}

// legal says whether a service may go from one state to the other.
func legal(from, to State) bool { return slices.Contains(transitions[from], to) }
