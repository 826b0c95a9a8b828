package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"casemate/vmhost/qmp"
)

// Config describes a machine. With PXE it boots as a bare one would: firmware,
// the NIC's iPXE ROM, DHCP, TFTP. With Kernel it skips all that.
type Config struct {
	Name  string // for logs; default "node"
	Tools Tools
	// Dir is a directory for the machine's scratch files.
	Dir string

	// PXE is a directory with boot.ipxe and what that names.
	PXE string
	// Kernel, Initrd and Append boot a kernel directly.
	Kernel, Initrd, Append string

	CPUs   int // default 2
	Memory int // MiB, default 4096
	// NodeConfig, if not nil, is passed as fw_cfg opt/casemate/config.
	NodeConfig []byte
	// Forward are TCP ports of the machine to reach from the host's loopback.
	Forward []int
	// Args are further QEMU arguments.
	Args []string
	// OnLine gets each console line.
	OnLine func(Line)
}

// Machine is a running QEMU.
type Machine struct {
	// Console is the first serial port.
	Console *Console

	proc    *process
	monitor *qmp.Monitor
	events  *events
	stdin   io.WriteCloser
	stderr  *syncBuffer
	ports   map[int]int
}

// Start starts QEMU. The machine runs until it powers off or Stop is called;
// ctx bounds only the start.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	cfg.Name = orDefault(cfg.Name, "node")
	args, err := cfg.args()
	if err != nil {
		return nil, err
	}
	cmd := cfg.Tools.Node.Command(context.WithoutCancel(ctx), "qemu-system-x86_64", args...)
	m := &Machine{stderr: &syncBuffer{}}
	cmd.Stderr = m.stderr

	// The monitor is a socket pair: no path, no port, no race.
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd.ExtraFiles = []*os.File{theirs} // fd 3, as args says

	out, outW, err := outputPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = outW
	if m.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	m.proc, err = startProcess(cfg.Name, cmd)
	outW.Close()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	m.Console = NewConsole(cfg.Name, out, cfg.OnLine)
	if m.monitor, m.events, err = monitor(ctx, ours); err == nil {
		m.ports, err = m.forwards(ctx)
	}
	if err != nil {
		m.Stop()
		return nil, fmt.Errorf("start %s: %w\n%s", cfg.Name, err, m.Report())
	}
	return m, nil
}

// Addr is where the host reaches a port named in Config.Forward.
func (m *Machine) Addr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.ports[port]))
}

// Type sends text to the serial console.
func (m *Machine) Type(text string) error {
	_, err := io.WriteString(m.stdin, text)
	return err
}

// PowerButton presses the ACPI power button.
func (m *Machine) PowerButton() error {
	ctx, cancel := context.WithTimeout(context.Background(), qmp.RunTimeout)
	defer cancel()
	return m.monitor.Execute(ctx, "system_powerdown", nil, nil)
}

// Done is closed when QEMU has ended.
func (m *Machine) Done() <-chan struct{} { return m.proc.done }

// Wait waits until the machine is off. A machine that ended otherwise than by
// powering off or resetting itself is an error.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.proc.done:
		if m.proc.err != nil {
			return fmt.Errorf("machine %s: %w: %s", m.proc.name, m.proc.err, m.stderr)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("machine %s is not off: %w", m.proc.name, ctx.Err())
	}
}

// Stop ends QEMU as pulling the plug does. It may be called again.
func (m *Machine) Stop() { m.proc.stop(5 * time.Second) }

// Report is what one wants to see of a machine after a failure: the exact
// command, how it ended, what QEMU complained about, the whole console.
func (m *Machine) Report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "QEMU command: %s\nstatus: %s\n", commandLine(m.proc.cmd), m.proc.status())
	if s := m.stderr.String(); s != "" {
		fmt.Fprintf(&b, "QEMU says: %s\n", s)
	}
	b.WriteString("console:\n")
	for _, l := range m.Console.Lines() {
		fmt.Fprintln(&b, l)
	}
	return b.String()
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "qmp")
	defer f.Close() // FileConn duplicates it
	theirs = os.NewFile(uintptr(fds[1]), "qmp")
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// syncBuffer is a bytes.Buffer that one goroutine may read while another writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(b.buf.String())
}
