package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Error is QEMU's refusal of a command.
type Error struct {
	// Class is GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound or
	// KVMMissingCap (qapi/error.json); Desc is for people.
	Class, Desc string
	Command     string
}

func (e *Error) Error() string {
	if e.Class == "GenericError" {
		return fmt.Sprintf("QMP %s: %s", e.Command, e.Desc)
	}
	return fmt.Sprintf("QMP %s: %s (%s)", e.Command, e.Desc, e.Class)
}

// request is a command on the wire.
type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        string `json:"id"`
}

// Execute runs a command and decodes its return value into result. args is any
// value that marshals to a JSON object, or nil; result nil ignores the value. A
// reply beyond MaxDecode bytes needs a *json.RawMessage as result. QEMU's
// refusal is an *Error; any other error says that it is not known whether the
// command took effect.
func (m *Monitor) Execute(ctx context.Context, command string, args, result any) error {
	return m.ExecuteFile(ctx, command, args, nil, result)
}

// ExecuteFile is Execute with file passed along (SCM_RIGHTS), for getfd and
// add-fd. The caller keeps its file. Only one such command is under way at a
// time, because QEMU's socket holds the descriptors of one message.
func (m *Monitor) ExecuteFile(ctx context.Context, command string, args any, file *os.File, result any) error {
	id := m.newID()
	line, err := json.Marshal(request{command, args, id})
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	msg, err := m.roundTrip(ctx, command, id, line, file)
	if err != nil {
		return err
	}
	if raw, ok := result.(*json.RawMessage); ok {
		*raw = msg.ret
		return nil
	}
	if result == nil {
		return nil
	}
	if len(msg.ret) > MaxDecode {
		return fmt.Errorf("QMP %s: return value of %d bytes is over the limit of %d", command, len(msg.ret), MaxDecode)
	}
	if err := json.Unmarshal(msg.ret, result); err != nil {
		return fmt.Errorf("QMP %s: return value %s: %w", command, excerpt(msg.ret), err)
	}
	return nil
}

// Run sends a command that is already JSON and returns QEMU's whole reply,
// within RunTimeout. It is there for go-qemu. An id in command is replaced, and
// the reply has the replacement.
func (m *Monitor) Run(command []byte) (reply []byte, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(command, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("QMP command %s is no JSON object", excerpt(command))
	}
	var name string
	if err := json.Unmarshal(fields["execute"], &name); err != nil {
		return nil, fmt.Errorf("QMP command %s has no execute", excerpt(command))
	}
	id := m.newID()
	fields["id"] = json.RawMessage(strconv.Quote(id))
	line, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("QMP %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), RunTimeout)
	defer cancel()
	msg, err := m.roundTrip(ctx, name, id, line, nil)
	if err != nil {
		return nil, err
	}
	return msg.raw, nil
}

func (m *Monitor) newID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastID++
	return m.prefix + strconv.FormatUint(m.lastID, 10)
}

// roundTrip sends line and waits for the reply with its id.
func (m *Monitor) roundTrip(ctx context.Context, command, id string, line []byte, file *os.File) (message, error) {
	if file != nil {
		if err := m.take(ctx, m.files); err != nil {
			return message{}, fmt.Errorf("QMP %s: %w", command, err)
		}
		defer func() { <-m.files }()
	}
	reply := make(chan message, 1)
	m.mu.Lock()
	m.pending[id] = reply
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.pending, id)
		m.mu.Unlock()
	}()

	if err := m.send(ctx, append(line, '\n'), file); err != nil {
		return message{}, fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case msg := <-reply:
		return m.result(msg, command)
	case <-ctx.Done():
		return message{}, fmt.Errorf("QMP %s: no reply: %w", command, ctx.Err())
	case <-m.done:
		// The reply to quit may have come right before the end.
		select {
		case msg := <-reply:
			return m.result(msg, command)
		default:
			return message{}, fmt.Errorf("QMP %s: %w", command, m.Err())
		}
	}
}

func (m *Monitor) result(msg message, command string) (message, error) {
	if msg.err != nil {
		msg.err.Command = command
		return message{}, msg.err
	}
	return msg, nil
}

// take acquires one of the two tokens, or fails with the session or ctx.
func (m *Monitor) take(ctx context.Context, token chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.done:
		return m.Err()
	}
}

// send writes one command. A write that ctx cuts short ends the session: QEMU
// would take the next command for the rest of this one.
func (m *Monitor) send(ctx context.Context, line []byte, file *os.File) error {
	if err := m.take(ctx, m.sending); err != nil {
		return err
	}
	defer func() { <-m.sending }()

	m.conn.SetWriteDeadline(time.Time{})
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		m.conn.SetWriteDeadline(time.Unix(1, 0))
		close(cut)
	})
	n, err := write(m.conn, line, file)
	if !stop() {
		<-cut // or it would hit the next command
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("QEMU does not read its QMP socket: %w", ctx.Err())
	}
	if n > 0 {
		m.fail(err)
	}
	return err
}

// write sends line with file, if any, attached to its first byte. n is how many
// bytes went out.
func write(conn net.Conn, line []byte, file *os.File) (n int, err error) {
	if file == nil {
		return conn.Write(line)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("pass %s: not a UNIX socket", file.Name())
	}
	sc, err := file.SyscallConn() // Fd() would make the file blocking
	if err != nil {
		return 0, err
	}
	var werr error
	if err := sc.Control(func(fd uintptr) {
		n, _, werr = uc.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil)
	}); err != nil {
		return 0, err
	}
	if werr == nil && n < len(line) {
		var rest int
		rest, werr = uc.Write(line[n:])
		n += rest
	}
	return n, werr
}
