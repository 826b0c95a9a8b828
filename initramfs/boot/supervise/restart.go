package supervise

import (
	"context"
	"fmt"
	"sync"
	"time"

	"casemate/initramfs/boot/halt"
)

// Backoff says how long to wait before a service is started again: First, then
// twice as long each time, at most Max. A service that was up for Reset starts
// over with First.
type Backoff struct{ First, Max, Reset time.Duration }

// DefaultBackoff is the back-off of the node's services.
var DefaultBackoff = Backoff{First: 250 * time.Millisecond, Max: 30 * time.Second, Reset: time.Minute}

// next gives the delay after one of d, for a service that was up so long.
func (b Backoff) next(d, up time.Duration) time.Duration {
	if d == 0 || up >= b.Reset {
		return b.First
	}
	return min(2*d, b.Max)
}

// Service keeps a Runner running.
type Service struct {
	runner  Runner
	backoff Backoff
	logf    func(format string, args ...any)

	cancel context.CancelFunc
	done   chan struct{}
	ready  chan struct{} // closed when it was ready for the first time

	mu    sync.Mutex
	state State
}

// New wraps runner so that it is started again, with back-off, whenever it
// ends. logf is told of each end.
func New(runner Runner, b Backoff, logf func(format string, args ...any)) *Service {
	return &Service{runner: runner, backoff: b, logf: logf, done: make(chan struct{}), ready: make(chan struct{})}
}

func (s *Service) String() string { return s.runner.String() }

// State gives the service's state.
func (s *Service) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Ready is closed once the service has been ready for the first time.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Start begins; once only.
func (s *Service) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.enter(Starting)
	go s.loop(ctx)
}

// Stop stops the service for good and waits until its process has ended. A
// service that never started is just marked.
func (s *Service) Stop() {
	if s.cancel == nil {
		s.enter(Stopped)
		return
	}
	s.cancel()
	<-s.done
}

func (s *Service) loop(ctx context.Context) {
	defer halt.OnPanic()
	defer close(s.done)
	defer s.enter(Stopped)
	var delay time.Duration
	for {
		began := time.Now()
		var once sync.Once
		runCtx, ended := context.WithCancel(ctx)
		err := s.runner.Run(runCtx, func() {
			once.Do(func() {
				if runCtx.Err() == nil {
					s.becomeReady()
				}
			})
		})
		ended()
		if ctx.Err() != nil {
			if err != nil {
				s.logf("%s: stopped: %v", s, err)
			}
			return
		}
		s.enter(Waiting)
		delay = s.backoff.next(delay, time.Since(began))
		if err == nil {
			err = fmt.Errorf("exit status 0")
		}
		s.logf("%s: ended after %v: %v; starting again in %v", s, time.Since(began).Round(time.Millisecond), err, delay)
		wait := time.NewTimer(delay)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
		s.enter(Starting)
	}
}

func (s *Service) becomeReady() {
	if !s.enter(Ready) {
		return
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// enter changes the state, or not if that would be illegal.
func (s *Service) enter(to State) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !legal(s.state, to) {
		return false
	}
	s.state = to
	return true
}
