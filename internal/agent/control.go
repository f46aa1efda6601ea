// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// SocketName is the name of the socket in the folder of the agent. Only the user of the agent may
// connect to it. The commands of goshawk-agent use it to talk to the running agent.
const SocketName = "control.sock"

// Request is what a command asks the running agent to do.
type Request struct {
	// Changes are the modules to install or remove.
	Changes []update.Change `json:"changes,omitempty"`
	// Set is the distribution set that the device runs after the update, for the server. It may be
	// nil.
	Set *update.Set `json:"set,omitempty"`
	// Remark is for the server, with the answer of a person.
	Remark string `json:"remark,omitempty"`
}

// Listen opens the socket. The lock of the folder ensures that no other agent uses it.
func Listen(folder string) (net.Listener, error) {
	path := filepath.Join(folder, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// Serve does what commands ask for, until the end of the context.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	handle := func(path string, f func(context.Context, Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var request Request
			answer, err := any(nil), json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&request)
			if err == nil {
				answer, err = f(r.Context(), request)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			_ = json.NewEncoder(w).Encode(answer) // the command has ended if it cannot be written
		})
	}
	handle("/update", a.updateByHand)
	handle("/confirm", func(ctx context.Context, r Request) (any, error) {
		return nil, a.Answer(ctx, update.Confirmed, r.Remark)
	})
	handle("/deny", func(ctx context.Context, r Request) (any, error) {
		return nil, a.Answer(ctx, update.Denied, r.Remark)
	})
	handle("/poll", func(context.Context, Request) (any, error) {
		if a.Server == nil {
			return nil, errors.New("the configuration has no server")
		}
		a.poll()
		return nil, nil
	})
	handle("/connection", func(context.Context, Request) (any, error) { return a.Connection(), nil })
	handle("/rollback", func(ctx context.Context, _ Request) (any, error) { return nil, a.rollback(ctx) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// updateByHand starts an update and returns its result.
func (a *Agent) updateByHand(ctx context.Context, r Request) (any, error) {
	if len(r.Changes) == 0 {
		return nil, errors.New("the request has no software module")
	}
	id, err := a.acceptByHand(ctx, r)
	if err != nil {
		return nil, err
	}
	for {
		d, changed := a.Document()
		if d.Ended != nil && d.Ended.ID == id {
			return d.Ended, nil
		}
		if d.Update != nil && d.Update.Phase == update.Rebooting {
			return nil, errors.New("the device is rebooted now; the update continues after that: goshawk-agent status shows its result")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// rollback cancels the update in progress for a person at the device.
func (a *Agent) rollback(ctx context.Context) error {
	d, _ := a.Document()
	if d.Update == nil {
		return errors.New("no update is in progress")
	}
	ok, err := a.Cancel(ctx, update.FromDevice)
	if err == nil && !ok {
		err = fmt.Errorf("update %s cannot be rolled back in phase %s", d.Update.ID, d.Update.Phase)
	}
	return err
}

// FileURL returns the address of a local file, for the artifact of an update by hand.
func FileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// ErrNotRunning means that no agent listens at the socket.
var ErrNotRunning = errors.New("the agent does not run")

// Ask sends a request to the running agent and reads its answer into an object, or into nothing if
// it is nil.
func Ask(ctx context.Context, folder, path string, request Request, into any) error {
	socket := filepath.Join(folder, SocketName)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(post)
	if err != nil {
		if operation := (*net.OpError)(nil); errors.As(err, &operation) && operation.Op == "dial" {
			if errors.Is(err, os.ErrPermission) {
				return fmt.Errorf("connect to the agent: %w: run the command as the user of the agent", operation.Err)
			}
			return ErrNotRunning
		}
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(answer)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
