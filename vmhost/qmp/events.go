package qmp

import (
	"context"
	"encoding/json"

	goqemu "github.com/digitalocean/go-qemu/qmp"
)

// EventBacklog is how many events wait for a subscriber before the oldest is
// dropped.
const EventBacklog = 128

// Events subscribes to QEMU's events until ctx ends or the session is over;
// then the channel is closed. A subscriber that does not read loses the oldest
// events (see Dropped) and holds up nobody. There may be several.
func (m *Monitor) Events(ctx context.Context) (<-chan goqemu.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	c := make(chan goqemu.Event, EventBacklog)
	m.subscribers[c] = context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if _, ok := m.subscribers[c]; ok {
			delete(m.subscribers, c)
			close(c)
		}
	})
	return c, nil
}

// Dropped is how many events subscribers have lost: too slow, or the event was
// malformed or longer than MaxEvent.
func (m *Monitor) Dropped() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dropped
}

// publish gives an event to all subscribers. m.mu is held.
func (m *Monitor) publish(msg message) {
	if len(m.subscribers) == 0 {
		return
	}
	if len(msg.raw) > MaxEvent {
		m.dropped += uint64(len(m.subscribers))
		return
	}
	for c := range m.subscribers {
		// Decoded for each: Data is a map, which they may change.
		var e goqemu.Event
		if err := json.Unmarshal(msg.raw, &e); err != nil {
			m.dropped++
			continue
		}
		select {
		case c <- e:
			continue
		default:
		}
		// Full. This goroutine is the only sender, so once one is out (taken
		// here or by the subscriber) there is room.
		select {
		case <-c:
			m.dropped++
		default:
		}
		c <- e
	}
}
