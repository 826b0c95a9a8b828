package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor speaks QMP with the QEMU that is the machine: press a button, ask for
// a port. The node has its own transport (vmhost/qmp) for the QEMUs in it; this
// one stays apart, so that a fault there cannot hide from the tests.
type monitor struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// newMonitor negotiates capabilities.
func newMonitor(conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, in: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := m.in.ReadBytes('\n'); err != nil { // the greeting
		return nil, fmt.Errorf("QMP greeting: %w", err)
	}
	_, err := m.execute("qmp_capabilities", nil)
	return m, err
}

// execute runs one command and returns its result. Events on the way are
// dropped: the console and the process tell what the lab needs.
func (m *monitor) execute(command string, args any) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	req := map[string]any{"execute": command}
	if args != nil {
		req["arguments"] = args
	}
	_ = m.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if err := json.NewEncoder(m.conn).Encode(req); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", command, err)
	}
	for {
		line, err := m.in.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("QMP %s: %w", command, err)
		}
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return nil, fmt.Errorf("QMP %s: reply %q: %w", command, line, err)
		}
		switch {
		case reply.Error != nil:
			return nil, fmt.Errorf("QMP %s: %s", command, reply.Error.Desc)
		case reply.Return != nil:
			return reply.Return, nil
		}
	}
}
