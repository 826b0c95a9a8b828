package vmhost

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	consoleRing    = 64 << 10 // bytes kept for who attaches later
	consoleQueue   = 256      // chunks that a client may lag behind
	consoleTimeout = 5 * time.Second
)

// console is a VM's serial console. The manager alone is connected to QEMU's
// socket, always; clients come and go. A client that does not read is dropped:
// the guest never waits for one.
type console struct {
	mu      sync.Mutex
	ring    []byte // the last consoleRing bytes
	clients map[*consoleClient]struct{}
	conn    net.Conn // nil when QEMU does not run
}

func newConsole() *console { return &console{clients: map[*consoleClient]struct{}{}} }

// attach takes over conn and reads it until it ends.
func (c *console) attach(conn net.Conn) {
	c.mu.Lock()
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn = conn
	c.mu.Unlock()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if n > 0 {
				c.output(buf[:n])
			}
			if err != nil {
				c.detach(conn)
				return
			}
		}
	}()
}

// detach ends conn's time: clients see the end of the stream.
func (c *console) detach(conn net.Conn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return
	}
	c.conn = nil
	for cl := range c.clients {
		c.drop(cl)
	}
}

// close detaches whatever is attached.
func (c *console) close() {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		c.detach(conn)
	}
}

func (c *console) output(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = append(c.ring, p...)
	if over := len(c.ring) - consoleRing; over > 0 {
		c.ring = append(c.ring[:0], c.ring[over:]...)
	}
	for cl := range c.clients {
		select {
		case cl.queue <- append([]byte(nil), p...):
		default:
			c.drop(cl)
		}
	}
}

// drop ends a client. With c.mu held.
func (c *console) drop(cl *consoleClient) {
	if _, ok := c.clients[cl]; ok {
		delete(c.clients, cl)
		close(cl.queue)
	}
}

// open attaches a client: first it reads the ring, then what comes.
func (c *console) open() io.ReadWriteCloser {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := &consoleClient{c: c, queue: make(chan []byte, consoleQueue), rest: append([]byte(nil), c.ring...)}
	if c.conn == nil {
		close(cl.queue) // QEMU ended just now: the ring is all there is
	} else {
		c.clients[cl] = struct{}{}
	}
	return cl
}

// write sends a client's keys to the guest. A guest that does not take them
// costs the client an error, nobody else anything.
func (c *console) write(p []byte) (int, error) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return 0, io.ErrClosedPipe
	}
	conn.SetWriteDeadline(time.Now().Add(consoleTimeout))
	return conn.Write(p)
}

// consoleClient is one attached client. Read is for one goroutine at a time.
type consoleClient struct {
	c     *console
	queue chan []byte
	rest  []byte
}

func (cl *consoleClient) Read(p []byte) (int, error) {
	if len(cl.rest) == 0 {
		var ok bool
		if cl.rest, ok = <-cl.queue; !ok {
			return 0, io.EOF
		}
	}
	n := copy(p, cl.rest)
	cl.rest = cl.rest[n:]
	return n, nil
}

func (cl *consoleClient) Write(p []byte) (int, error) {
	cl.c.mu.Lock()
	_, attached := cl.c.clients[cl]
	cl.c.mu.Unlock()
	if !attached {
		return 0, os.ErrClosed
	}
	return cl.c.write(p)
}

// Close detaches; a Read under way ends.
func (cl *consoleClient) Close() error {
	cl.c.mu.Lock()
	defer cl.c.mu.Unlock()
	cl.c.drop(cl)
	return nil
}
