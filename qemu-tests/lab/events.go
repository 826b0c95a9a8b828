package lab

import (
	"context"
	"fmt"
	"net"
	"sync"

	"casemate/vmhost/qmp"

	goqemu "github.com/digitalocean/go-qemu/qmp"
)

// events keeps what QEMU tells of the machine, as typed events: that somebody
// pressed the button, that the guest shut down and did not merely vanish.
type events struct {
	mu   sync.Mutex
	list []goqemu.Event
	done chan struct{} // closed when there will be no more
}

// monitor opens a QMP session over conn and collects its events.
func monitor(ctx context.Context, conn net.Conn) (*qmp.Monitor, *events, error) {
	m := qmp.NewMonitor(conn)
	if err := m.Handshake(ctx); err != nil {
		_ = m.Disconnect()
		return nil, nil, fmt.Errorf("QMP: %w", err)
	}
	c, err := m.Events(context.WithoutCancel(ctx)) // until QEMU ends
	if err != nil {
		return nil, nil, fmt.Errorf("QMP: %w", err)
	}
	e := &events{done: make(chan struct{})}
	go func() {
		defer close(e.done)
		for event := range c {
			e.mu.Lock()
			e.list = append(e.list, event)
			e.mu.Unlock()
		}
	}()
	return m, e, nil
}

// Ending says how the machine ended, in QEMU's words (ShutdownCause):
// guest-shutdown, guest-reset, guest-panic, host-signal, ... It is empty for one
// that was killed. Only after Done.
func (m *Machine) Ending() string {
	<-m.events.done
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	for _, e := range m.events.list {
		if e.Event == "SHUTDOWN" {
			reason, _ := e.Data["reason"].(string)
			return reason
		}
	}
	return ""
}
