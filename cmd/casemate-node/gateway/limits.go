package gateway

import (
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
)

// limited is a listener that closes connections beyond its bounds at once,
// rather than let them wait: a client then knows, and the rest is served.
type limited struct {
	net.Listener
	total, perHost int
	refused        io.Writer

	mu    sync.Mutex
	open  int
	hosts map[string]int
}

func limit(l net.Listener, total, perHost int, refused io.Writer) net.Listener {
	return &limited{Listener: l, total: total, perHost: perHost, refused: refused, hosts: map[string]int{}}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		if l.take(host) {
			return &counted{Conn: conn, done: func() { l.give(host) }}, nil
		}
		fmt.Fprintf(l.refused, "refused %s: too many connections", conn.RemoteAddr())
		_ = conn.Close()
	}
}

func (l *limited) take(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.hosts[host] >= l.perHost {
		return false
	}
	l.open++
	l.hosts[host]++
	return true
}

func (l *limited) give(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
}

type counted struct {
	net.Conn
	once sync.Once
	done func()
}

func (c *counted) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}

// limitedLog writes lines to a logger, some at once and then one in each
// interval; strangers must not fill the node's log. It says what it left out.
type limitedLog struct {
	log      *log.Logger
	interval time.Duration
	burst    int

	mu      sync.Mutex
	tokens  int
	last    time.Time
	dropped int
}

func newLimitedLog(l *log.Logger, interval time.Duration, burst int) *limitedLog {
	return &limitedLog{log: l, interval: interval, burst: burst, tokens: burst, last: time.Now()}
}

func (l *limitedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if earned := int(time.Since(l.last) / l.interval); earned > 0 {
		l.tokens = min(l.tokens+earned, l.burst)
		l.last = l.last.Add(time.Duration(earned) * l.interval)
	}
	if l.tokens == 0 {
		l.dropped++
		return len(line), nil
	}
	l.tokens--
	if l.dropped > 0 {
		l.log.Printf("%d such lines left out", l.dropped)
		l.dropped = 0
	}
	l.log.Print(oneLine(string(line)))
	return len(line), nil
}

// oneLine makes text safe for a line of the log: an error may quote a
// stranger's certificate.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
}

// counter bounds how much each has at once.
type counter struct {
	max int

	mu sync.Mutex
	of map[string]int
}

func (c *counter) take(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[name] >= c.max {
		return false
	}
	c.of[name]++
	return true
}

func (c *counter) give(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[name]--; c.of[name] == 0 {
		delete(c.of, name)
	}
}
