package volume

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// ProbeTimeout is how long Probe waits when its context has no earlier end.
const ProbeTimeout = 10 * time.Second

// Probe asks the server whether it serves NFSv4: a TCP connection and a call of
// procedure 0, which does nothing (RFC 5531, RFC 7530 section 16.1). It returns
// the local address towards the server, which mount(2) wants as clientaddr.
//
// mount(2) of a server that does not answer blocks for minutes and says only
// "connection timed out"; this is why it is asked before.
func Probe(ctx context.Context, server netip.AddrPort) (local netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("NFS server %s: %w", server, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	if err := null(conn); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("connected, but no answer to an NFS call: %w", ctx.Err())
		}
		return netip.Addr{}, fmt.Errorf("NFS server %s: %w", server, err)
	}
	tcp, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("NFS server %s: no local address", server)
	}
	return tcp.AddrPort().Addr().Unmap(), nil
}

// Numbers of ONC RPC, RFC 5531.
const (
	rpcCall       = 0
	rpcReply      = 1
	rpcVersion    = 2
	nfsProgram    = 100003
	nfsVersion    = 4
	lastFragment  = 1 << 31
	progMismatch  = 2
	replyMost     = 512 // a NULL reply has 24 bytes, 32 with a version mismatch
	replyAccepted = 0
)

// null calls NFSPROC4_NULL.
func null(conn io.ReadWriter) error {
	const xid = 0x6361736d
	call := []uint32{
		xid, rpcCall, rpcVersion, nfsProgram, nfsVersion, 0, // procedure NULL
		0, 0, // credentials AUTH_NONE, empty
		0, 0, // verifier AUTH_NONE, empty
	}
	msg := binary.BigEndian.AppendUint32(nil, lastFragment|uint32(4*len(call)))
	for _, w := range call {
		msg = binary.BigEndian.AppendUint32(msg, w)
	}
	if _, err := conn.Write(msg); err != nil {
		return err
	}

	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("read RPC reply: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:]) &^ lastFragment
	if n > replyMost {
		return fmt.Errorf("no NFS server: RPC reply of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return fmt.Errorf("read RPC reply: %w", err)
	}
	return checkNull(xid, body)
}

// checkNull reads the body of an RPC reply: xid, REPLY, MSG_ACCEPTED, a
// verifier, SUCCESS.
func checkNull(xid uint32, body []byte) error {
	word := func(i int) uint32 {
		if len(body) < 4*i+4 {
			return ^uint32(0)
		}
		return binary.BigEndian.Uint32(body[4*i:])
	}
	if word(0) != xid || word(1) != rpcReply {
		return fmt.Errorf("no NFS server: RPC reply % x", body[:min(len(body), 16)])
	}
	if word(2) != replyAccepted {
		return fmt.Errorf("RPC call denied (reply_stat %d)", word(2))
	}
	verifier := word(4)
	if verifier > 400 { // RFC 5531's most
		return fmt.Errorf("no NFS server: RPC verifier of %d bytes", verifier)
	}
	at := 5 + int(verifier+3)/4
	switch stat := word(at); stat {
	case 0:
		return nil
	case progMismatch:
		return fmt.Errorf("serves NFS versions %d to %d, not 4", word(at+1), word(at+2))
	case 1:
		return fmt.Errorf("serves no NFS on this port")
	default:
		return fmt.Errorf("RPC error (accept_stat %d)", stat)
	}
}
