// Package qmp speaks the QEMU Machine Protocol over a UNIX socket. It is the
// transport under go-qemu's types: a *Monitor is a qmp.Monitor of
// github.com/digitalocean/go-qemu, so qemu.NewDomain and qmp/raw work on it. It
// knows no command but qmp_capabilities, and starts no QEMU.
//
// The peer is not trusted: a guest may have taken it over. Whatever it sends
// costs a bounded amount of memory, and nothing that it does or leaves undone
// holds a caller beyond its context. Descriptors that it sends are not received
// at all (read(2) has the kernel drop them).
//
// Protocol: https://www.qemu.org/docs/master/interop/qmp-spec.html. Messages
// are one line each, which is how QEMU writes them unless asked for pretty=on.
package qmp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"golang.org/x/sys/unix"
)

// RunTimeout bounds Connect and Run, which go-qemu's interface gives no context.
const RunTimeout = 30 * time.Second

// ErrDisconnected is Err after Disconnect.
var ErrDisconnected = errors.New("QMP: disconnected")

// Monitor is one QMP session. Its methods may be called concurrently.
type Monitor struct {
	conn net.Conn
	// prefix starts the ids of this session's commands. It is random because
	// QEMU may deliver a reply that the session before asked for, say of a
	// manager that died with a command under way.
	prefix string
	done   chan struct{} // closed when the session is over

	sending chan struct{} // holds a token while a command is being written
	files   chan struct{} // holds a token while a command with a file is under way

	mu          sync.Mutex
	started     bool // the reader runs
	ready       bool // capabilities are negotiated
	err         error
	version     goqemu.Version
	greeting    chan struct{} // closed when version is set
	lastID      uint64
	pending     map[string]chan message
	subscribers map[chan goqemu.Event]func() bool
	dropped     uint64
}

var _ goqemu.Monitor = (*Monitor)(nil)

// Dial connects to QEMU's socket at path and negotiates capabilities. QEMU
// serves one client at a time: with another one connected, Dial waits until ctx
// ends.
func Dial(ctx context.Context, path string) (*Monitor, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("QMP: %w", err)
	}
	m := NewMonitor(conn)
	if err := m.Handshake(ctx); err != nil {
		m.Disconnect()
		return nil, fmt.Errorf("QMP socket %s: %w", path, err)
	}
	return m, nil
}

// NewMonitor makes a session over conn, which it takes over. Handshake or
// Connect starts it.
func NewMonitor(conn net.Conn) *Monitor {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return &Monitor{
		conn:        conn,
		prefix:      "cm-" + hex.EncodeToString(b[:]) + "-",
		done:        make(chan struct{}),
		sending:     make(chan struct{}, 1),
		files:       make(chan struct{}, 1),
		greeting:    make(chan struct{}),
		pending:     make(map[string]chan message),
		subscribers: make(map[chan goqemu.Event]func() bool),
	}
}

// Handshake waits for QEMU's greeting and negotiates capabilities. It does
// nothing when that has been done.
func (m *Monitor) Handshake(ctx context.Context) error {
	m.mu.Lock()
	if m.ready {
		m.mu.Unlock()
		return nil
	}
	if !m.started {
		m.started = true
		go m.receive()
	}
	m.mu.Unlock()

	select {
	case <-m.greeting:
	case <-m.done:
		return fmt.Errorf("wait for greeting: %w", m.Err())
	case <-ctx.Done():
		return fmt.Errorf("wait for greeting: %w", ctx.Err())
	}
	if err := m.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		return err
	}
	m.mu.Lock()
	m.ready = true
	m.mu.Unlock()
	return nil
}

// Connect is Handshake within RunTimeout, for go-qemu.
func (m *Monitor) Connect() error {
	ctx, cancel := context.WithTimeout(context.Background(), RunTimeout)
	defer cancel()
	return m.Handshake(ctx)
}

// Disconnect ends the session. Commands under way fail with ErrDisconnected;
// QEMU and its VM go on.
func (m *Monitor) Disconnect() error {
	m.fail(ErrDisconnected)
	return nil
}

// Done is closed when the session is over: Err then says why. For a QMP socket
// that only this process uses, it means that QEMU has ended or has to.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// Err is nil while the session lives. It is io.EOF (wrapped) when QEMU closed
// the connection.
func (m *Monitor) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Version is QEMU's, from its greeting.
func (m *Monitor) Version() goqemu.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// fail ends the session for the given reason, unless it is over.
func (m *Monitor) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return
	}
	m.err = err
	m.conn.Close()
	close(m.done)
	for c, stop := range m.subscribers {
		delete(m.subscribers, c)
		stop()
		close(c)
	}
}

// receive hands on what QEMU sends until the session is over.
func (m *Monitor) receive() {
	lines := newLineReader(m.conn)
	var t throttle
	for {
		line, err := lines.next()
		// A reset is a close with our last newline unread, as after quit.
		if err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, unix.ECONNRESET) {
			err = fmt.Errorf("QEMU closed the QMP connection: %w", io.EOF)
		}
		if err != nil {
			m.fail(err)
			return
		}
		msg, err := parse(line)
		if err != nil {
			m.fail(err)
			return
		}
		m.dispatch(msg)
		t.spend(len(line))
	}
}

// throttle keeps a flooding QEMU from keeping a CPU of the manager busy: beyond
// a budget per period it is not read, and blocks on its own socket.
type throttle struct {
	spent  int
	period time.Time
}

const (
	throttlePeriod = 100 * time.Millisecond
	throttleBytes  = 1 << 20 // per period
	throttleEach   = 1 << 10 // what a message costs beside its bytes
)

func (t *throttle) spend(n int) {
	now := time.Now()
	if now.Sub(t.period) >= throttlePeriod {
		t.period, t.spent = now, 0
	}
	t.spent += n + throttleEach
	if t.spent > throttleBytes {
		time.Sleep(throttlePeriod - now.Sub(t.period))
	}
}

// dispatch never blocks: it runs on the only goroutine that reads.
func (m *Monitor) dispatch(msg message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch msg.kind {
	case kindGreeting:
		select {
		case <-m.greeting: // a second greeting says nothing
		default:
			m.version = msg.version
			close(m.greeting)
		}
	case kindEvent:
		m.publish(msg)
	case kindReply:
		// Nobody waits when the caller's context has ended, or when the command
		// was an earlier session's.
		if c, ok := m.pending[msg.id]; ok {
			delete(m.pending, msg.id)
			c <- msg // has room for one
		}
	}
}
