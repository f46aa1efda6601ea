// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// ExitMissing is the exit code of a handler that does not know a verb. A shell uses it for a usage
// error (EX_USAGE in sysexits.h).
const ExitMissing = 64

// Limits of what a handler may print.
const (
	maxLine     = 4096
	maxMessages = 20
	maxOutput   = 2000
)

// program is an executable that is called with the verb as its only argument. It prints lines to
// the file descriptor 3; its other output is kept for the message of a failure.
type program struct {
	path     string
	registry *Registry
	// folder is the working directory, or empty for that of the agent.
	folder string
}

// Line is a line that a handler has printed to file descriptor 3.
type Line struct {
	// Percent is 0 to 100, or negative if the line is a message.
	Percent int
	Message string
}

func (p *program) Do(ctx context.Context, c Call, progress func(Line)) update.StepResult {
	ctx, cancel := context.WithTimeout(ctx, p.registry.timeout())
	defer cancel()
	module := filepath.Join(c.Work, "module.json")
	if err := writeModule(module, c); err != nil {
		return notStarted(err)
	}
	lines, theirs, err := os.Pipe()
	if err != nil {
		return notStarted(err)
	}
	defer func() { _ = lines.Close() }()
	output := &tail{}
	command, err := p.start(ctx, c, module, theirs, output)
	if err != nil {
		_ = theirs.Close()
		return notStarted(fmt.Errorf("start %s: %w", p.path, err))
	}
	_ = theirs.Close()
	if err := rememberGroup(p.registry.State, command.Process.Pid); err != nil {
		_, _ = output.Write([]byte(err.Error()))
	}
	var result update.StepResult
	var reading sync.WaitGroup
	reading.Go(func() { readLines(lines, &result, progress) })
	err = command.Wait()
	_ = lines.SetReadDeadline(time.Now().Add(time.Second)) // a daemon that it started may have the pipe
	reading.Wait()
	forgetGroup(p.registry.State)
	if err == nil {
		if !p.registry.SkipSync && changesSoftware(c.Verb) {
			p.registry.Disk.SyncAll() // else a loss of power after this call could undo a part of it
		}
		return result
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == ExitMissing {
		return update.StepResult{Missing: true}
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = fmt.Errorf("no end after %s", p.registry.timeout())
	}
	result.Err = fmt.Sprintf("%s: %v", c.Verb, err)
	if text := output.String(); text != "" {
		result.Err += ": " + text
	}
	return result
}

// busyPause is the time between two attempts to start a program that another process has open for
// writing, and maxBusy is how many there are.
const (
	busyPause = 20 * time.Millisecond
	maxBusy   = 100
)

// start starts the program. A process that was forked while the script of an archive was written
// has the file for a moment, and the script cannot be executed meanwhile.
func (p *program) start(ctx context.Context, c Call, module string, pipe *os.File, output io.Writer) (*exec.Cmd, error) {
	for attempt := 1; ; attempt++ {
		command := exec.CommandContext(ctx, p.path, string(c.Verb))
		command.Dir = p.folder
		command.Env = append(os.Environ(), environment(c, module)...)
		command.ExtraFiles = []*os.File{pipe}
		command.Stdout, command.Stderr = output, output
		command.Cancel = func() error { return stopGroup(command.Process.Pid) }
		command.WaitDelay = 10 * time.Second // then its pipes are closed, also if a process that it started has them
		setGroup(command)
		err := command.Start()
		if !errors.Is(err, syscall.ETXTBSY) || attempt == maxBusy {
			return command, err
		}
		time.Sleep(busyPause)
	}
}

// changesSoftware reports whether a call leaves something on the device that must be durable when
// the agent has stored its end.
func changesSoftware(verb update.Verb) bool {
	switch verb {
	case update.Install, update.Remove, update.Rollback, update.Commit:
		return true
	default:
		return false
	}
}

// environment returns what a handler reads about its call.
func environment(c Call, module string) []string {
	return []string{
		"GOSHAWK_TYPE=" + c.Change.Type, "GOSHAWK_NAME=" + c.Change.Name, "GOSHAWK_VERSION=" + c.Change.Version, "GOSHAWK_OLD_VERSION=" + c.OldVersion,
		"GOSHAWK_UPDATE=" + c.Update, "GOSHAWK_FILES=" + c.Files, "GOSHAWK_WORK=" + c.Work, "GOSHAWK_KEPT=" + c.Kept, "GOSHAWK_MODULE=" + module,
	}
}

// writeModule writes the module with its files and metadata for handlers that need more than the
// environment.
func writeModule(path string, c Call) error {
	encoded, err := json.MarshalIndent(c.Change.Module, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(encoded, '\n'), 0o600)
}

// readLines reads the lines of a handler. A line that it does not know counts as a message.
func readLines(from io.Reader, result *update.StepResult, progress func(Line)) {
	reader := bufio.NewReaderSize(from, maxLine)
	for {
		line, isPrefix, err := reader.ReadLine()
		if err != nil {
			return
		}
		text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "?")
		for isPrefix && err == nil { // the rest of a line that is too long
			_, isPrefix, err = reader.ReadLine()
		}
		if text == "" {
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		switch word {
		case "progress":
			if percent, err := strconv.Atoi(strings.TrimSuffix(rest, "%")); err == nil {
				progress(Line{Percent: min(max(percent, 0), 100)})
				continue
			}
		case "code":
			result.Code = rest
			continue
		case "reboot":
			result.NeedsReboot = true
			continue
		case "repeatable":
			result.Repeatable = true
			continue
		case "message":
			text = rest
		}
		result.Messages = append(result.Messages, text)
		result.Messages = result.Messages[max(0, len(result.Messages)-maxMessages):]
		progress(Line{Percent: -1, Message: text})
	}
}

// tail keeps the last bytes that are written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, data...)
	t.kept = t.kept[max(0, len(t.kept)-maxOutput):]
	return len(data), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.kept)), "?")
}
